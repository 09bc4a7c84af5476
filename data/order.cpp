#include "pumice/data/order.h"

#include <numeric>
#include <utility>

#include "pumice/tensor/philox.h"

namespace pumice {
namespace {

// The draw `index` of a stream, in [0, n).
int64_t draw(const RandomKey& key, uint64_t index, int64_t n) {
  const Random4 r = random4(key, index);
  const uint64_t bits = uint64_t(r.v[0]) << 32 | r.v[1];
  return int64_t((static_cast<unsigned __int128>(bits) * uint64_t(n)) >> 64);
}

}  // namespace

std::vector<int64_t> permutation(int64_t n, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  const RandomKey key{.seed = seed, .step = uint32_t(epoch), .site = 0x10adu};
  for (int64_t i = n - 1; i > 0; --i) { std::swap(order[i], order[draw(key, uint64_t(i), i + 1)]); }
  return order;
}

int64_t draw_below(int64_t n, uint64_t seed, int64_t epoch) { return draw({.seed = seed, .step = uint32_t(epoch), .site = 0x0ff5u}, 0, n); }

}  // namespace pumice
