// Which tile multiplies a product. Chosen by shape and layout alone, so that the same product gives the same bits on every card.
#pragma once
#include "pumice/ops/matmul/fma_tile_cuda.h"
#include "pumice/ops/matmul/mma_tile_cuda.h"

namespace pumice::cuda {

inline int64_t tiles_of(int64_t n, int64_t side) { return (n + side - 1) / side; }

// Tiles of 128 read half as much as tiles of 64, unless they would be mostly padding or too few for the processors of a card (132 of an H100).
inline bool large_tiles(int64_t rows, int64_t columns, int64_t count) {
  return rows > 64 && columns > 64 && tiles_of(rows, 128) * tiles_of(columns, 128) * count >= 132;
}

// f.operator()<Tile>() for products of f32 or bf16 whose operands have these layouts.
template <bool kADepthMajor, bool kBDepthMajor, class F> void with_tile(DType dtype, bool large, F&& f) {
  simt::launch_typed(dtype, [&]<class T>() {
    if constexpr (std::is_same_v<T, float>) {
      if (large) { f.template operator()<FmaTile<128>>(); }
      else { f.template operator()<FmaTile<64>>(); }
    } else {
      if (large) { f.template operator()<MmaTile<128, 128, kADepthMajor, kBDepthMajor>>(); }
      else { f.template operator()<MmaTile<64, 64, kADepthMajor, kBDepthMajor>>(); }
    }
  });
}
template <class F> void with_tile(DType dtype, bool large, const Layout& a, const Layout& b, F&& f) {
  if (a.depth_major) {
    if (b.depth_major) { with_tile<true, true>(dtype, large, f); }
    else { with_tile<true, false>(dtype, large, f); }
  } else {
    if (b.depth_major) { with_tile<false, true>(dtype, large, f); }
    else { with_tile<false, false>(dtype, large, f); }
  }
}

}  // namespace pumice::cuda
