// Philox of many blocks side by side, one per lane of a vector: the words of philox.h at a quarter of the time.
// Included by CPU kernels only, once per instruction-set level.
#pragma once
#include "pumice/tensor/philox.h"

#if defined(PUMICE_ISA_IS_avx512) || defined(PUMICE_ISA_IS_avx2)
#include <immintrin.h>
#endif

namespace pumice::PUMICE_ISA {

#if defined(PUMICE_ISA_IS_avx512)
inline constexpr int kPhiloxLanes = 16;
#elif defined(PUMICE_ISA_IS_avx2)
inline constexpr int kPhiloxLanes = 8;
#else
inline constexpr int kPhiloxLanes = 4;
#endif
typedef uint32_t PhiloxWords __attribute__((vector_size(4 * kPhiloxLanes), aligned(4), may_alias));
typedef uint64_t PhiloxProducts __attribute__((vector_size(4 * kPhiloxLanes), may_alias));

// The lower halves of 64-bit lanes times m, in full. Written out, the compiler multiplies 64 by 64 bits.
PUMICE_INLINE PhiloxProducts multiply_lower(PhiloxProducts a, uint32_t m) {
#if defined(PUMICE_ISA_IS_avx512)
  return PhiloxProducts(_mm512_maskz_mul_epu32(0xff, __m512i(a), _mm512_set1_epi64(m)));  // unmasked, the intrinsic warns in g++ 12
#elif defined(PUMICE_ISA_IS_avx2)
  return PhiloxProducts(_mm256_mul_epu32(__m256i(a), _mm256_set1_epi64x(m)));
#else
  return (a & 0xffffffffull) * m;
#endif
}

// high and low halves of c[l] * m for every lane.
PUMICE_INLINE void multiply_halves(PhiloxWords c, uint32_t m, PhiloxWords& high, PhiloxWords& low) {
  const PhiloxProducts even = multiply_lower(PhiloxProducts(c), m), odd = multiply_lower(PhiloxProducts(c) >> 32, m);
  constexpr uint64_t kLow = 0xffffffffull;
  high = PhiloxWords((even >> 32) | (odd & ~kLow));
  low = PhiloxWords((even & kLow) | (odd << 32));
}

// The words of blocks [block, block + kPhiloxLanes), in the order of their elements: 4 kPhiloxLanes of them.
PUMICE_INLINE void random_words(const RandomKey& key, uint64_t block, uint32_t* out) {
  PhiloxWords c0, c1;
  for (int l = 0; l < kPhiloxLanes; ++l) {
    c0[l] = uint32_t(block + uint64_t(l));
    c1[l] = uint32_t((block + uint64_t(l)) >> 32 & 0xffffu) | uint32_t(key.microbatch) << 16;
  }
  PhiloxWords c2 = PhiloxWords{} + key.step, c3 = PhiloxWords{} + key.site;
  uint32_t k0 = uint32_t(key.seed), k1 = uint32_t(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    PhiloxWords high0, low0, high1, low1;
    multiply_halves(c0, 0xD2511F53u, high0, low0);
    multiply_halves(c2, 0xCD9E8D57u, high1, low1);
    c0 = high1 ^ c1 ^ k0;
    c2 = high0 ^ c3 ^ k1;
    c1 = low1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int l = 0; l < kPhiloxLanes; ++l) {
    out[4 * l] = c0[l];
    out[4 * l + 1] = c1[l];
    out[4 * l + 2] = c2[l];
    out[4 * l + 3] = c3[l];
  }
}

}  // namespace pumice::PUMICE_ISA
