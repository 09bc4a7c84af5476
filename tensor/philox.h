// Philox4x32-10, a counter-based generator (Salmon, Moraes, Dror, Shaw 2011, "Parallel Random Numbers: As Easy as 1, 2, 3").
// A number is a function of (seed, step, microbatch, site, element) and of nothing else, so order, thread count, recomputation
// and device do not matter. Free of STL: kernels on every device include it.
#pragma once
#include "pumice/tensor/dtype.h"

namespace pumice {

// Which stream of random numbers: `site` names the module that draws, given at construction.
struct RandomKey {
  uint64_t seed = 0;
  uint32_t step = 0;
  uint16_t microbatch = 0;
  uint32_t site = 0;
  const uint32_t* step_at = nullptr;  // device memory where CUDA kernels read the step, which a replayed launch cannot be told
};
PUMICE_INLINE RandomKey with_step(RandomKey key) {  // in a CUDA kernel
  if (key.step_at) { key.step = *key.step_at; }
  return key;
}

struct Random4 { uint32_t v[4]; };

PUMICE_INLINE Random4 philox4x32(const uint32_t counter[4], uint64_t key) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
    uint32_t n0 = uint32_t(p1 >> 32) ^ c1 ^ k0, n2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c1 = uint32_t(p1);
    c3 = uint32_t(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Four 32-bit words for block `block` of the key's stream: elements 4*block .. 4*block+3.
PUMICE_INLINE Random4 random4(const RandomKey& key, uint64_t block) {
  uint32_t counter[4] = {uint32_t(block), uint32_t(block >> 32 & 0xffffu) | uint32_t(key.microbatch) << 16, key.step, key.site};
  return philox4x32(counter, key.seed);
}

PUMICE_INLINE uint32_t random_bits(const RandomKey& key, uint64_t element) { return random4(key, element / 4).v[element % 4]; }

// Uniform in [0, 1), 24 bits.
PUMICE_INLINE float to_unit(uint32_t bits) { return float(bits >> 8) * 0x1p-24f; }
PUMICE_INLINE float random_uniform(const RandomKey& key, uint64_t element) { return to_unit(random_bits(key, element)); }

}  // namespace pumice
