// Operands of a packed product in the order in which the register tile reads them: panels of kTileCols columns of B and of kTileRows rows of A, depth
// outermost. They become numbers of the type that sums them on the way, or pairs of bf16. Included by gemm_cpu.cpp only, once per instruction-set level.
#pragma once
#include "pumice/ops/matmul/gemm_cpu.h"
#include "pumice/ops/matmul/microkernel.h"
#if defined(PUMICE_ISA_IS_avx512)
#include "pumice/ops/matmul/amx_tile.h"
#endif
#include "pumice/tensor/math.h"

namespace pumice::PUMICE_ISA {

inline constexpr int64_t kTogether = 8;  // panels packed side by side where their lines share cache lines

#if defined(PUMICE_ISA_IS_avx512)
// kTileRows neighbours, zeros after them.
typedef uint32_t Words __attribute__((vector_size(64)));
inline constexpr uint16_t kRowMask = (1 << kTileRows) - 1;
PUMICE_INLINE Words load_rows(const float* p) { return Words(_mm512_maskz_loadu_epi32(kRowMask, p)); }
PUMICE_INLINE Words load_rows(const bf16* p) { return Words(_mm512_maskz_cvtepu16_epi32(kRowMask, _mm256_maskz_loadu_epi16(kRowMask, p))); }
#endif

// How operands of T are packed: as numbers of the type that sums them. kRows: of C, that a tile holds; kTiles: rows of A stay rows when they are packed.
template <class T> struct Numbers : Plain<Acc<T>> {
  static constexpr int64_t kRows = kTileRows;
  static constexpr bool kTiles = false;
  static constexpr bool kReady = __is_same(T, Acc<T>);  // rows that are dense along depth are words as they lie
  // Of the element p, whose neighbour in depth stands `deep` elements further, and with which `left` of the block are left in depth.
  static PUMICE_INLINE Acc<T> load(const T* p, int64_t, int64_t) { return Acc<T>(*p); }
  // Four words of elements that are dense along depth.
  static PUMICE_INLINE Four load_four(const T* p) { return PUMICE_ISA::load_four(p); }
#if defined(PUMICE_ISA_IS_avx512)
  // The words of a step of depth, of kTileRows neighbours across it.
  static PUMICE_INLINE Words load_step(const T* p, int64_t) { return __is_same(T, bf16) ? load_rows(p) << 16 : load_rows(p); }
#endif
};

#if defined(PUMICE_ISA_IS_avx512)
struct Pairs : Paired {
  static constexpr int64_t kRows = kTileRows;
  static constexpr bool kTiles = false;
  static constexpr bool kReady = true;
  static PUMICE_INLINE Word load(const bf16* p, int64_t deep, int64_t left) { return p->bits | (left > 1 ? uint32_t(p[deep].bits) << 16 : 0); }
  static PUMICE_INLINE Four load_four(const bf16* p) { return *reinterpret_cast<const Four*>(p); }
  static PUMICE_INLINE Words load_step(const bf16* p, int64_t deep) { return load_rows(p) | load_rows(p + deep) << 16; }
};

// Pairs for tile registers.
template <class Units> struct Tiles : Pairs {
  static constexpr int64_t kRows = kAmxSide;
  static constexpr bool kTiles = true;
  template <bool kAccumulate> static PUMICE_INLINE void multiply(int64_t pairs, const char* a, int64_t row, const Word* b, float* c, int64_t ldc) {
    micro_tile_amx<Units, kAccumulate>(pairs, a, row, b, c, ldc);
  }
};
#endif

// Rows of A for a tile of P: packed, or dense along depth where they lie, `row` bytes apart.
struct TileRows { const char* p; int64_t row; };
template <class P> PUMICE_INLINE auto packed_rows(const typename P::Word* p, int64_t deep) {
  if constexpr (P::kTiles) { return TileRows{reinterpret_cast<const char*>(p), deep * int64_t(sizeof(*p))}; }
  else { return Panel<typename P::Word, P::kRows>{p}; }
}
template <class P> PUMICE_INLINE auto dense_rows(const void* p, int64_t row) {
  if constexpr (P::kTiles) { return TileRows{static_cast<const char*>(p), row}; }
  else { return DenseRows<typename P::Word, P::kRows>(p, row); }
}

// Lines of elements that are dense along depth, into out[k * kWidth + line]: kWidth lines, of which `lines` are there and the others zero.
template <class T, class P, int64_t kWidth> PUMICE_INLINE void transpose(const T* from, int64_t stride, int64_t lines, int64_t depth, typename P::Word* out) {
  using E = typename P::Word;
  constexpr int64_t D = P::kDeep;
  const int64_t deep = ceil_div(depth, D), whole = depth / D / 4 * 4;  // in fours
  if constexpr (sizeof(E) == 4 && kWidth >= 4) {
    if (lines == kWidth) {
      for (int64_t block = 0; block < kWidth; block += 4) {
        const int64_t line = minimum(block, kWidth - 4);  // the last four may overlap those before
        const T* p = from + line * stride;
        for (int64_t k = 0; k < whole; k += 4) {
          transpose_four(P::load_four(p + D * k), P::load_four(p + stride + D * k), P::load_four(p + 2 * stride + D * k),
                         P::load_four(p + 3 * stride + D * k), out + k * kWidth + line, kWidth * sizeof(E));
        }
        for (int64_t k = whole; k < deep; ++k) {
          for (int64_t i = 0; i < 4; ++i) { out[k * kWidth + line + i] = P::load(p + i * stride + D * k, 1, depth - D * k); }
        }
      }
      return;
    }
  }
  for (int64_t line = 0; line < kWidth; ++line) {
    for (int64_t k = 0; k < deep; ++k) { out[k * kWidth + line] = line < lines ? P::load(from + line * stride + D * k, 1, depth - D * k) : E(0); }
  }
}

// Lines of elements that are dense across depth, into panels of kWidth lines, the last one filled with zeros: all panels at one depth, then at the next.
template <class T, class P, int64_t kWidth> PUMICE_INLINE void interleave(const T* from, int64_t stride, int64_t lines, int64_t depth, typename P::Word* out) {
  using E = typename P::Word;
  constexpr int64_t D = P::kDeep;
  const int64_t deep = ceil_div(depth, D);
  for (int64_t k = 0; k < deep; ++k) {
    const T* step = from + D * k * stride;
    const int64_t left = depth - D * k, whole = left >= D ? lines / kWidth * kWidth : 0;
    E* to = out + k * kWidth;
    int64_t line = 0;
#if defined(PUMICE_ISA_IS_avx512)
    if constexpr (kWidth == kTileRows && sizeof(E) == 4) {  // in one store, whose last words the next step's take the place of
      if (k + 1 < deep) {
        for (; line < whole; line += kWidth, to += deep * kWidth) { _mm512_storeu_si512(to, __m512i(P::load_step(step + line, stride))); }
      }
    }
#endif
    for (; line < whole; line += kWidth, to += deep * kWidth) {
      if constexpr (__is_same(T, E)) {
        std::memcpy(to, step + line, kWidth * sizeof(E));
      } else {
#pragma GCC unroll 1
        for (int64_t i = 0; i < kWidth; ++i) { to[i] = P::load(step + line + i, stride, D); }
      }
    }
    for (; line < lines; line += kWidth, to += deep * kWidth) {
      for (int64_t i = 0; i < kWidth; ++i) { to[i] = line + i < lines ? P::load(step + line + i, stride, left) : E(0); }
    }
  }
}

// Lines of `depth` elements into panels of kWidth lines, the last one filled with zeros. `across`: from line to line, `along`: from element to element.
template <class T, class P, int64_t kWidth>
void pack(const T* from, int64_t across, int64_t along, int64_t lines, int64_t depth, typename P::Word* out) {
  using E = typename P::Word;
  constexpr int64_t D = P::kDeep;
  const int64_t deep = ceil_div(depth, D);
  const int64_t step = across == 1 ? kTogether * kWidth : kWidth;
  for (int64_t line = 0; line < lines; line += step, from += step * across, out += step * deep) {
    const int64_t n = minimum(step, lines - line);
    if (across == 1) {
      interleave<T, P, kWidth>(from, along, n, depth, out);
    } else if (along == 1) {
      transpose<T, P, kWidth>(from, across, n, depth, out);
    } else {
      for (int64_t k = 0; k < deep; ++k) {
        for (int64_t i = 0; i < kWidth; ++i) { out[k * kWidth + i] = i < n ? P::load(from + D * k * along + i * across, along, depth - D * k) : E(0); }
      }
    }
  }
}

// Rows of A for tiles of P: `lines` of them, the last tile filled with zeros. What belongs to row i begins at out[i * words of depth] of every tile.
template <class T, class P> void pack_a(const T* from, int64_t across, int64_t along, int64_t lines, int64_t depth, typename P::Word* out) {
  if constexpr (P::kTiles) {
    constexpr int64_t D = P::kDeep;
    const int64_t deep = ceil_div(depth, D), padded = ceil_div(lines, P::kRows) * P::kRows;
    if (across == 1) {  // as they lie in memory: all lines at one depth
      for (int64_t k = 0; k < deep; ++k) {
        for (int64_t i = 0; i < lines; ++i) { out[i * deep + k] = P::load(from + D * k * along + i, along, depth - D * k); }
      }
    } else {
      for (int64_t i = 0; i < lines; ++i) {
        for (int64_t k = 0; k < deep; ++k) { out[i * deep + k] = P::load(from + i * across + D * k * along, along, depth - D * k); }
      }
    }
    for (int64_t i = lines * deep; i < padded * deep; ++i) { out[i] = 0; }
  } else {
    pack<T, P, P::kRows>(from, across, along, lines, depth, out);
  }
}

// Columns [j0, j0 + width) of rows [k0, k0 + depth) of B.
template <class T, class P> void pack_b(const Product& p, int64_t k0, int64_t depth, int64_t j0, int64_t width, typename P::Word* out) {
  pack<T, P, kTileCols<typename P::Sum>>(static_cast<const T*>(p.b) + k0 * p.b_row + j0 * p.b_col, p.b_col, p.b_row, width, depth, out);
}

// Rows of A that need no packing: dense along depth in whole words, and not so far apart that they share the lines of a first-level cache.
template <class T, class P> bool lies_ready(const Product& p) {
  return P::kReady && p.a_col == 1 && p.K % P::kDeep == 0 && p.a_row * int64_t(sizeof(T)) % 2048 != 0 && p.K * int64_t(sizeof(T)) >= 2048;
}

}  // namespace pumice::PUMICE_ISA
