#include "pumice/models/kv_cache.h"

#include <algorithm>

#include "pumice/tensor/error.h"

namespace pumice {

KvCache::KvCache(const DecoderConfig& c, int64_t sequences, DType dtype, Device device)
    : layers_(c.layers), kv_heads_(c.kv_heads), head_width_(c.head_width), dtype_(dtype), device_(device), lengths_(sequences),
      stores_(sequences, std::vector<Store>(c.layers)) {}

void KvCache::truncate(int64_t sequence, int64_t length) {
  REQUIRE(UsageError, sequence >= 0 && sequence < sequences(), "[cache] there is no sequence ", sequence, " among ", sequences());
  REQUIRE(UsageError, length >= 0 && length <= lengths_[sequence], "[cache] a sequence of ", lengths_[sequence], " tokens cannot be cut to ", length);
  lengths_[sequence] = length;
}

int64_t KvCache::bytes() const {
  int64_t bytes = 0;
  for (const auto& layers : stores_) {
    for (const Store& s : layers) { bytes += s.k.defined() ? s.k.bytes() + s.v.bytes() : 0; }
  }
  return bytes;
}

void KvCache::reserve(int64_t sequence, int64_t more) {
  const int64_t length = lengths_[sequence], wanted = length + more;
  for (Store& s : stores_[sequence]) {
    const int64_t capacity = s.k.defined() ? s.k.dim(0) : 0;
    if (wanted <= capacity) { continue; }
    const Shape shape{std::max<int64_t>({wanted, 2 * capacity, 64}), kv_heads_, head_width_};
    Store grown{empty(shape, dtype_, device_), empty(shape, dtype_, device_)};
    if (length) {
      copy_into(grown.k.slice(0, 0, length), s.k.slice(0, 0, length));
      copy_into(grown.v.slice(0, 0, length), s.v.slice(0, 0, length));
    }
    s = grown;
  }
}

KvCache::Seen KvCache::append(int64_t layer, int64_t sequence, const Tensor& k, const Tensor& v) {
  const int64_t begin = lengths_[sequence], end = begin + k.dim(0);
  Store& s = stores_[sequence][layer];
  copy_into(s.k.slice(0, begin, end), k);
  copy_into(s.v.slice(0, begin, end), v);
  return {s.k.slice(0, 0, end), s.v.slice(0, 0, end)};
}

}  // namespace pumice
