#include "pumice/tensor/rng.h"

#include <cmath>

#include "pumice/tensor/parallel.h"

namespace pumice {
namespace {
thread_local RandomKey current;
constexpr double kTwoPi = 6.283185307179586476925;
}  // namespace

RandomScope::RandomScope(const RandomKey& key) : previous_(current) { current = key; }
RandomScope::~RandomScope() { current = previous_; }

RandomKey random_key(uint32_t site) {
  RandomKey key = current;
  key.site = site;
  return key;
}

uint32_t site_of(const char* module_name) {  // FNV-1a
  uint32_t h = 2166136261u;
  for (const char* c = module_name; *c; ++c) { h = (h ^ uint8_t(*c)) * 16777619u; }
  return h;
}

double random_normal(const RandomKey& key, uint64_t element) {
  // One pair of normals from words 0,1 and one from words 2,3 of each block.
  Random4 r = random4(key, element / 4);
  const uint32_t* w = r.v + (element % 4 / 2) * 2;
  double radius = std::sqrt(-2 * std::log((double(w[0]) + 1) * 0x1p-32)), angle = kTwoPi * (double(w[1]) * 0x1p-32);
  return radius * (element % 2 ? std::sin(angle) : std::cos(angle));
}

Tensor random_uniform_tensor(const Shape& shape, double low, double high, const RandomKey& key) {
  Tensor t = empty(shape);
  float* p = t.data<float>();
  parallel_for(t.size(), 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) { p[i] = float(low + (high - low) * random_uniform(key, uint64_t(i))); }
  });
  return t;
}

Tensor random_normal_tensor(const Shape& shape, double mean, double stddev, const RandomKey& key) {
  Tensor t = empty(shape);
  float* p = t.data<float>();
  parallel_for(t.size(), 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) { p[i] = float(mean + stddev * random_normal(key, uint64_t(i))); }
  });
  return t;
}

}  // namespace pumice
