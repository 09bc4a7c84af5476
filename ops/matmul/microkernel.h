// The register tile of every matrix product: MR rows by NV vectors of C, held in registers over the whole depth.
// Included by CPU kernels only, once per instruction-set level.
#pragma once
#include "pumice/tensor/dtype.h"

#if defined(PUMICE_ISA_IS_avx512)
#include <immintrin.h>
#endif

namespace pumice::PUMICE_ISA {

PUMICE_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
PUMICE_INLINE int64_t maximum(int64_t a, int64_t b) { return a < b ? b : a; }
PUMICE_INLINE int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }

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

// Rows of the tile that the register file holds beside two vectors of B.
#if defined(PUMICE_ISA_IS_avx512)
inline constexpr int kTileRows = 14;
#elif defined(PUMICE_ISA_IS_avx2)
inline constexpr int kTileRows = 6;
#else
inline constexpr int kTileRows = 4;
#endif
template <class A> inline constexpr int kTileCols = 2 * kVector<A>;

// Where a tile finds its rows of A: at(i) of row i, one step of depth after the other. W is a word of one or more neighbours in depth.
template <class W, int MR> struct Panel {  // packed, (depth, MR)
  const W* p;
  PUMICE_INLINE W at(int i) const { return p[i]; }
  PUMICE_INLINE void next() { p += MR; }
};
template <class W> struct Strided {
  const W* p;
  int64_t row, along;
  PUMICE_INLINE W at(int i) const { return p[i * row]; }
  PUMICE_INLINE void next() { p += along; }
};
template <class W, int MR> struct DenseRows {  // dense along depth and `row` bytes apart; an address for every third row is what registers hold
  const char* base[(MR + 2) / 3];
  int64_t row;
  PUMICE_INLINE DenseRows(const void* p, int64_t row) : row(row) {
#pragma GCC unroll 8
    for (int g = 0; g < (MR + 2) / 3; ++g) { base[g] = static_cast<const char*>(p) + 3 * g * row; }
  }
  PUMICE_INLINE W at(int i) const {
    W w;
    std::memcpy(&w, base[i / 3] + i % 3 * row, sizeof(W));
    return w;
  }
  PUMICE_INLINE void next() {
#pragma GCC unroll 8
    for (int g = 0; g < (MR + 2) / 3; ++g) { base[g] += sizeof(W); }
  }
};

// C[i][j] (+)= sum_k a.at(i) b[k * ldb + j],  i < MR, j < NV vectors. c and b rows are contiguous in j.
template <class A, int MR, int NV, bool kAccumulate, class Rows>
PUMICE_INLINE void micro_tile(int64_t depth, Rows a, const A* b, int64_t ldb, A* c, int64_t ldc) {
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
  for (int64_t k = 0; k < depth; ++k, b += ldb, a.next()) {
    V bv[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) { bv[j] = *reinterpret_cast<const V*>(b + j * W); }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const A ai = a.at(i);
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

#if defined(PUMICE_ISA_IS_avx512)
// The same of bf16 operands in pairs, two neighbours in depth to 32 bits. Products are exact, sums f32, and subnormal numbers count as zero (VDPBF16PS).
template <int MR, int NV, bool kAccumulate, class Rows>
__attribute__((target("avx512bf16"), noinline)) void micro_tile_pairs(int64_t pairs, Rows a, const uint32_t* b, int64_t ldb, float* c, int64_t ldc) {
  __m512 acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) { acc[i][j] = kAccumulate ? _mm512_loadu_ps(c + i * ldc + j * 16) : _mm512_setzero_ps(); }
  }
  for (int64_t k = 0; k < pairs; ++k, b += ldb, a.next()) {
    __m512bh bv[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) { bv[j] = __m512bh(_mm512_loadu_si512(b + j * 16)); }
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const __m512bh both = __m512bh(_mm512_set1_epi32(int(a.at(i))));
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) { acc[i][j] = _mm512_dpbf16_ps(acc[i][j], both, bv[j]); }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) { _mm512_storeu_ps(c + i * ldc + j * 16, acc[i][j]); }
  }
}
#endif

// How operands of a product are made: of words of kDeep neighbours in depth.
template <class A> struct Plain {  // numbers of the type that sums them
  using Sum = A;
  using Word = A;
  static constexpr int64_t kDeep = 1;
  template <int MR, int NV, bool kAccumulate, class Rows>
  static PUMICE_INLINE void tile(int64_t depth, const Rows& a, const A* b, int64_t ldb, A* c, int64_t ldc) {
    micro_tile<A, MR, NV, kAccumulate>(depth, a, b, ldb, c, ldc);
  }
};

#if defined(PUMICE_ISA_IS_avx512)
struct Paired {  // two of bf16 (Isa::avx512_bf16)
  using Sum = float;
  using Word = uint32_t;
  static constexpr int64_t kDeep = 2;
  template <int MR, int NV, bool kAccumulate, class Rows>
  static PUMICE_INLINE void tile(int64_t pairs, const Rows& a, const Word* b, int64_t ldb, float* c, int64_t ldc) {
    micro_tile_pairs<MR, NV, kAccumulate>(pairs, a, b, ldb, c, ldc);
  }
};
#endif

template <class P, int MR, bool kAccumulate>
PUMICE_INLINE void small_product_rows(int64_t N, int64_t deep, const Strided<typename P::Word>& a, const typename P::Word* b, int64_t ldb,
                                      typename P::Sum* c, int64_t ldc) {
  constexpr int W = kVector<typename P::Sum>;
  int64_t j = 0;
  for (; j + 2 * W <= N; j += 2 * W) { P::template tile<MR, 2, kAccumulate>(deep, a, b + j, ldb, c + j, ldc); }
  for (; j < N; j += W) { P::template tile<MR, 1, kAccumulate>(deep, a, b + j, ldb, c + j, ldc); }
}

// A whole small product on one thread: C (M, N) (+)= A (M, deep words) B (deep words, N). N is a multiple of the vector (pad with zeros); A has any
// strides, B and C are row-major. For operands that stay in cache.
template <class P, bool kAccumulate>
PUMICE_INLINE void small_product(int64_t M, int64_t N, int64_t deep, const typename P::Word* a, int64_t a_row, int64_t a_col, const typename P::Word* b,
                                 int64_t ldb, typename P::Sum* c, int64_t ldc) {
  constexpr int R = kTileRows < 8 ? kTileRows : 8;
  int64_t i = 0;
  const auto rows = [&]<int kRows>() {
    small_product_rows<P, kRows, kAccumulate>(N, deep, {a + i * a_row, a_row, a_col}, b, ldb, c + i * ldc, ldc);
    i += kRows;
  };
  while (i + R <= M) { rows.template operator()<R>(); }
  if (R > 4 && i + 4 <= M) { rows.template operator()<4>(); }
  while (i + 2 <= M) { rows.template operator()<2>(); }
  if (i < M) { rows.template operator()<1>(); }
}

// Four of 32 bits.
typedef uint32_t Four __attribute__((vector_size(16), aligned(2), may_alias));

// Four lines of four, transposed, into four lines of `out`.
PUMICE_INLINE void transpose_four(Four a, Four b, Four c, Four d, void* out, int64_t line_bytes) {
  const Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Four cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const auto put = [&](int64_t i, Four v) { *reinterpret_cast<Four*>(static_cast<char*>(out) + i * line_bytes) = v; };
  put(0, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
  put(1, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
  put(2, __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5));
  put(3, __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7));
}

// Four neighbours, as f32 or as they are.
PUMICE_INLINE Four load_four(const float* p) { return *reinterpret_cast<const Four*>(p); }
PUMICE_INLINE Four load_four(const uint32_t* p) { return *reinterpret_cast<const Four*>(p); }
PUMICE_INLINE Four load_four(const bf16* p) {
  typedef uint16_t Halves __attribute__((vector_size(8), aligned(2), may_alias));
  return __builtin_convertvector(*reinterpret_cast<const Halves*>(p), Four) << 16;
}

}  // namespace pumice::PUMICE_ISA
