// The register tile of every matrix product: MR rows by NV vectors of C, held in registers over the whole depth.
// Included by CPU kernels only, once per instruction-set level.
#pragma once
#include "pumice/tensor/dtype.h"

#if defined(PUMICE_ISA_IS_avx512)
#include <immintrin.h>
#endif

namespace pumice::PUMICE_ISA {

#if defined(PUMICE_ISA_IS_avx512)
inline constexpr int kVectorBytes = 64;
#elif defined(PUMICE_ISA_IS_avx2)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

template <class A> struct VectorOf;
template <> struct VectorOf<float> { typedef float type __attribute__((vector_size(kVectorBytes), aligned(4), may_alias)); };
template <> struct VectorOf<double> { typedef double type __attribute__((vector_size(kVectorBytes), aligned(8), may_alias)); };

template <class A> inline constexpr int kVector = kVectorBytes / int(sizeof(A));

// C[i][j] (+)= sum_k a[i * a_row + k * a_col] * b[k * ldb + j],  i < MR, j < NV vectors. c and b rows are contiguous in j.
template <class A, int MR, int NV, bool kAccumulate>
PUMICE_INLINE void micro_tile(int64_t depth, const A* a, int64_t a_row, int64_t a_col, const A* b, int64_t ldb, A* c, int64_t ldc) {
  using V = typename VectorOf<A>::type;
  constexpr int W = kVector<A>;
  V acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) {
      if constexpr (kAccumulate) { acc[i][j] = *reinterpret_cast<const V*>(c + i * ldc + j * W); }
      else { acc[i][j] = V{} ; }
    }
  }
  for (int64_t k = 0; k < depth; ++k, b += ldb, a += a_col) {
    V bv[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) { bv[j] = *reinterpret_cast<const V*>(b + j * W); }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      A ai = a[i * a_row];
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) { acc[i][j] += ai * bv[j]; }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) { *reinterpret_cast<V*>(c + i * ldc + j * W) = acc[i][j]; }
  }
}

// Rows of the tile that the register file holds beside two vectors of B.
#if defined(PUMICE_ISA_IS_avx512)
inline constexpr int kTileRows = 14;
#elif defined(PUMICE_ISA_IS_avx2)
inline constexpr int kTileRows = 6;
#else
inline constexpr int kTileRows = 4;
#endif
template <class A> inline constexpr int kTileCols = 2 * kVector<A>;

#if defined(PUMICE_ISA_IS_avx512)
// The same of bf16 operands that are packed in pairs, two neighbours in depth to 32 bits: a (depth / 2, kTileRows), b (depth / 2, 32). Products are exact,
// sums f32, and subnormal numbers count as zero (VDPBF16PS).
template <bool kAccumulate>
__attribute__((target("avx512bf16"), noinline)) void micro_tile_pairs(int64_t pairs, const uint32_t* a, const uint32_t* b, float* c, int64_t ldc) {
  __m512 acc[kTileRows][2];
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
    acc[i][0] = kAccumulate ? _mm512_loadu_ps(c + i * ldc) : _mm512_setzero_ps();
    acc[i][1] = kAccumulate ? _mm512_loadu_ps(c + i * ldc + 16) : _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < pairs; ++k, a += kTileRows, b += 32) {
    const __m512bh left = __m512bh(_mm512_loadu_si512(b)), right = __m512bh(_mm512_loadu_si512(b + 16));
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) {
      const __m512bh both = __m512bh(_mm512_set1_epi32(int(a[i])));
      acc[i][0] = _mm512_dpbf16_ps(acc[i][0], both, left);
      acc[i][1] = _mm512_dpbf16_ps(acc[i][1], both, right);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
    _mm512_storeu_ps(c + i * ldc, acc[i][0]);
    _mm512_storeu_ps(c + i * ldc + 16, acc[i][1]);
  }
}
#endif

template <class A, int MR, bool kAccumulate>
PUMICE_INLINE void small_product_rows(int64_t N, int64_t K, const A* a, int64_t a_row, int64_t a_col, const A* b, int64_t ldb, A* c, int64_t ldc) {
  constexpr int W = kVector<A>;
  int64_t j = 0;
  for (; j + 2 * W <= N; j += 2 * W) { micro_tile<A, MR, 2, kAccumulate>(K, a, a_row, a_col, b + j, ldb, c + j, ldc); }
  for (; j < N; j += W) { micro_tile<A, MR, 1, kAccumulate>(K, a, a_row, a_col, b + j, ldb, c + j, ldc); }
}

// A whole small product on one thread: C (M, N) (+)= A (M, K) B (K, N). N is a multiple of the vector (pad with zeros); A has any
// strides, B and C are row-major. For operands that stay in cache.
template <class A, bool kAccumulate>
PUMICE_INLINE void small_product(int64_t M, int64_t N, int64_t K, const A* a, int64_t a_row, int64_t a_col, const A* b, int64_t ldb, A* c, int64_t ldc) {
  constexpr int R = kTileRows < 8 ? kTileRows : 8;
  int64_t i = 0;
  for (; i + R <= M; i += R) { small_product_rows<A, R, kAccumulate>(N, K, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc); }
  for (; i < M; ++i) { small_product_rows<A, 1, kAccumulate>(N, K, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc); }
}

}  // namespace pumice::PUMICE_ISA
