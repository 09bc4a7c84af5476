// What the tiles of CUDA products share: operands as panels, the store of finished sums, and the choice of a tile. gemm_cuda.cu and
// moe/grouped_linear_cuda.cu differ only in how a block finds its panels.
#pragma once
#include "pumice/tensor/simt/simt.h"
#include "pumice/tensor/view.h"

namespace pumice::cuda {

// How an operand lies in memory, seen as (lines, depth): A by its rows, B by its columns, both summed along depth. Strides in elements.
struct Layout {
  int64_t line, depth;
  bool depth_major;  // neighbours along depth are neighbours in memory; otherwise neighbouring lines are, or nothing is
  bool vector;       // 16-byte chunks along that axis are aligned at every line (or depth)
};

// The lines of an operand that a block multiplies: data is the first one, `lines` of them exist.
template <class T> struct Panel {
  const T* data;
  int64_t line, depth;
  int lines;
  bool depth_major, vector;
};
template <class T> __device__ __forceinline__ Panel<T> panel_of(const T* data, const Layout& layout, int64_t first_line, int64_t lines, int most) {
  return {data + first_line * layout.line, layout.line, layout.depth, int(min(lines - first_line, int64_t(most))), layout.depth_major,
          layout.vector};
}

// kChunk neighbours along the chosen axis from (line, k): where they start, how far they lie apart, and how many exist.
template <class T> struct Chunk {
  const T* data;
  int64_t step;
  int count;
};
template <int kChunk, class T> __device__ __forceinline__ Chunk<T> chunk_of(const Panel<T>& p, bool depth_major, int line, int64_t k, int64_t depth) {
  const int64_t rest = depth_major ? depth - k : int64_t(p.lines) - line;
  const bool inside = line < p.lines && k < depth;
  return {inside ? p.data + line * p.line + k * p.depth : p.data, depth_major ? p.depth : p.line, inside ? int(min(rest, int64_t(kChunk))) : 0};
}

// c = beta c + sums + bias for the rows and columns that exist; data and bias start at the tile.
template <class C> struct Output {
  C* data;
  int64_t row, column;
  const float* bias;  // or null
  int beta, rows, columns;
  bool pairs;         // two neighbouring columns may be stored at once

  __device__ __forceinline__ float finished(int i, int j, float sum) const {
    if (bias) { sum += bias[j]; }
    return beta ? float(data[i * row + j * column]) + sum : sum;
  }
  __device__ __forceinline__ void store(int i, int j, float sum) const {
    if (i < rows && j < columns) { data[i * row + j * column] = C(finished(i, j, sum)); }
  }
  __device__ __forceinline__ void store_pair(int i, int j, float first, float second) const {  // j is even
    if (!(pairs && i < rows && j + 1 < columns)) {
      store(i, j, first);
      store(i, j + 1, second);
      return;
    }
    first = finished(i, j, first);
    second = finished(i, j + 1, second);
    C* to = data + i * row + j;
    if constexpr (std::is_same_v<C, float>) { *reinterpret_cast<float2*>(to) = make_float2(first, second); }
    else { *reinterpret_cast<uint32_t*>(to) = simt::pack_bf16(first, second); }
  }
};

// Tile `index` of a grid of tiles, eight rows of tiles at a time: they share their columns of B while these are in L2.
inline constexpr int64_t kSupertile = 8;
struct TilePlace { int64_t row, column; };
__device__ __forceinline__ TilePlace tile_place(int64_t index, int64_t tile_rows, int64_t tile_columns) {
  const int64_t first = index / (kSupertile * tile_columns) * kSupertile, height = min(tile_rows - first, kSupertile);
  const int64_t rest = index % (kSupertile * tile_columns);
  return {first + rest % height, rest / height};
}

inline bool aligned(const View& v, int64_t bytes) { return reinterpret_cast<uintptr_t>(v.data) % uint64_t(bytes) == 0; }

// An operand whose further strides (of batches or groups) are multiples of 16 bytes if `others_aligned`.
inline Layout layout_of(const View& v, int64_t line, int64_t depth, bool others_aligned) {
  const int64_t chunk = 16 / size_of(v.dtype);
  const bool depth_major = line != 1 || depth == 1;
  const bool vector = (depth_major ? depth : line) == 1 && (depth_major ? line : depth) % chunk == 0 && aligned(v, 16) && others_aligned;
  return {line, depth, depth_major, vector};
}

}  // namespace pumice::cuda
