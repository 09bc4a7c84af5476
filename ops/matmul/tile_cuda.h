// What the tiles of CUDA products share: operands as panels, the order of tiles, and the store of finished sums. gemm_cuda.cu and
// moe/grouped_linear_cuda.cu differ only in how a block finds its panels.
#pragma once
#include "pumice/ops/elementwise/unary_math.h"
#include "pumice/ops/matmul/epilogue.h"
#include "pumice/tensor/simt/rows.h"
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

// Finished sums go through shared memory, (rows, kColumns) in f32, so that a warp stores whole rows of C whatever order its threads hold them in. The
// padding spreads the fragments of mma.sync over the banks.
template <int kColumns> inline constexpr int kSumsStride = kColumns + 8;

// c = beta c + sums + bias for the rows and columns that exist, and what Epilogue E asks; data, y, other and bias start at the tile.
template <class C, Epilogue::Kind E = Epilogue::none> struct Output {
  C* data;
  int64_t row, column;
  const float* bias;  // or null
  int beta, rows, columns;
  bool vector;        // 16-byte chunks of a row may be stored at once
  C *y = nullptr, *other = nullptr;  // as data, row by row
  Unary f = Unary::gelu_tanh;

  __device__ __forceinline__ C finished(float sum, int j, C before) const {
    if (bias) { sum += bias[j]; }
    return C(beta ? float(before) + sum : sum);
  }
  static constexpr bool kReadsOther = E == Epilogue::add || E == Epilogue::swiglu || E == Epilogue::swiglu_backward;
  static constexpr bool kMakesY = E != Epilogue::none && E != Epilogue::add, kReadsC = Epilogue::reads_c(E);

  // What the epilogue makes of one number. v: the finished one, which becomes c; x: what stood in c; o: the number of `other`, or of its gradient. Gives y.
  __device__ __forceinline__ C apply(C& v, C x, C& o) const {
    if constexpr (E == Epilogue::add) {
      v = C(float(v) + float(o));
    } else if constexpr (E == Epilogue::swiglu) {
      return C(swish(float(o), 1.0f) * float(v));
    } else if constexpr (E == Epilogue::swiglu_backward) {
      const float gate = float(o), dy = float(v), silu = swish(gate, 1.0f);
      o = C(dy * float(x) * swish_slope(gate, 1.0f));
      v = C(dy * silu);
      return C(silu * float(x));
    } else if constexpr (E == Epilogue::gelu || E == Epilogue::gelu_backward) {
      switch (f) {
        case Unary::gelu_erf: return gelu<Unary::gelu_erf>(v, x);
        case Unary::gelu_quick: return gelu<Unary::gelu_quick>(v, x);
        default: return gelu<Unary::gelu_tanh>(v, x);
      }
    }
    return v;
  }
  template <Unary F> static __device__ __forceinline__ C gelu(C& v, C x) {
    if constexpr (E == Epilogue::gelu_backward) {
      v = C(float(v) * unary_slope<F>(float(x)));
      return C(unary_value<F>(float(x), 1.0f, 0.0f));
    } else {
      return C(unary_value<F>(float(v), 1.0f, 0.0f));
    }
  }

  template <int kColumns, int kThreads> __device__ __forceinline__ void store(const float* sums) const {
    constexpr int kChunk = simt::kVectorOf<C>, kPerRow = kColumns / kChunk;
    for (int i = int(threadIdx.x); i < rows * kPerRow; i += kThreads) {
      const int r = i / kPerRow, j = i % kPerRow * kChunk;
      const float* from = sums + r * kSumsStride<kColumns> + j;
      C* to = data + r * row + j * column;
      if (vector && j + kChunk <= columns) {
        simt::Vector<C, kChunk> v = {};
        if (beta) { v = simt::load_vector<kChunk>(to); }
        const auto sum = simt::load_vector<kChunk>(from);
        SIMT_UNROLL
        for (int e = 0; e < kChunk; ++e) { v.v[e] = finished(sum.v[e], j + e, v.v[e]); }
        if constexpr (E != Epilogue::none) {
          const int64_t at = r * row + j;
          simt::Vector<C, kChunk> x = {}, o = {}, made;
          if constexpr (kReadsC) { x = simt::load_vector<kChunk>(to); }
          if constexpr (kReadsOther) { o = simt::load_vector<kChunk>(other + at); }
          SIMT_UNROLL
          for (int e = 0; e < kChunk; ++e) { made.v[e] = apply(v.v[e], x.v[e], o.v[e]); }
          if constexpr (E == Epilogue::swiglu_backward) { simt::store_vector(other + at, o); }
          if constexpr (kMakesY) {
            if (y) { simt::store_vector(y + at, made); }
            else if constexpr (!kReadsC) { v = made; }
          }
        }
        simt::store_vector(to, v);
      } else {
        for (int e = 0; e < kChunk && j + e < columns; ++e) {
          C v = finished(from[e], j + e, beta ? to[e * column] : C(0));
          if constexpr (E != Epilogue::none) {
            const int64_t at = r * row + j + e;
            C x = kReadsC ? to[e] : C(0), o = kReadsOther ? other[at] : C(0);
            const C made = apply(v, x, o);
            if constexpr (E == Epilogue::swiglu_backward) { other[at] = o; }
            if constexpr (kMakesY) {
              if (y) { y[at] = made; }
              else if constexpr (!kReadsC) { v = made; }
            }
          }
          to[e * column] = v;
        }
      }
    }
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

// Whether rows of C (row stride, column stride) may be stored in chunks, its further strides being multiples of 16 bytes if `others_aligned`.
inline bool stores_vectors(const View& c, int64_t row, int64_t column, bool others_aligned) {
  return column == 1 && row * size_of(c.dtype) % 16 == 0 && aligned(c, 16) && others_aligned;
}

}  // namespace pumice::cuda
