// The products of all experts in one launch, on the tiles of gemm. The host never learns how many rows an expert has: blocks find theirs in the
// offsets on the device, and the grid is sized by the number of all rows.
#include "pumice/moe/grouped_linear_kernels.h"
#include "pumice/ops/matmul/choose_tile_cuda.h"
#include "pumice/tensor/simt/segments.h"

namespace pumice::cuda {
namespace {

struct Grouped {
  int64_t experts, rows, columns, depth;  // rows of all experts together
  Layout a, b;
};

// c (rows, columns) = a (rows, depth) b[e] + bias[e], e the expert of the row; zeros in rows behind the last expert's, of which there are some where the
// host takes the most rows that there can be. Grid: row blocks (segments.h) of experts + 1 * tiles of columns.
template <class Tile, class C, Epilogue::Kind E>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksPerProcessor)
multiply_rows(Grouped p, const typename Tile::Element* a, const typename Tile::Element* b, C* c, const float* bias, const int32_t* offsets,
              bool vector_stores, C* y, C* other, Unary f) {
  const int64_t tile_columns = (p.columns + Tile::kColumns - 1) / Tile::kColumns;
  const TilePlace tile = tile_place(blockIdx.x, gridDim.x / tile_columns, tile_columns);
  const auto rows = simt::segment_block<Tile::kRows, true>(offsets, p.experts, p.rows, tile.row);
  if (rows.empty()) { return; }
  const int64_t column = tile.column * Tile::kColumns;
  if (rows.segment == p.experts) {
    const int width = int(min(p.columns - column, int64_t(Tile::kColumns))), count = int(rows.end - rows.start);
    const int64_t first = rows.start * p.columns + column;
    for (int i = int(threadIdx.x) / 32; i < count; i += Tile::kThreads / 32) {  // a warp per row
      for (int j = int(threadIdx.x) % 32; j < width; j += 32) {
        c[first + i * p.columns + j] = C(0.0f);
        if constexpr (E != Epilogue::none) {  // all that follows is zero as well
          if (y) { y[first + i * p.columns + j] = C(0.0f); }
          if (E == Epilogue::swiglu_backward) { other[first + i * p.columns + j] = C(0.0f); }
        }
      }
    }
    return;
  }
  const auto out = [&] {
    const int64_t at = rows.start * p.columns + column;
    return Output<C, E>{c + at, p.columns, 1, bias ? bias + rows.segment * p.columns + column : nullptr, 0, int(rows.end - rows.start),
                        int(min(p.columns - column, int64_t(Tile::kColumns))), vector_stores, y ? y + at : nullptr,
                        other ? other + at : nullptr, f};
  };
  Tile::run(panel_of(a, p.a, rows.start, rows.end, Tile::kRows),
            panel_of(b + rows.segment * p.columns * p.depth, p.b, column, p.columns, Tile::kColumns), p.depth, out);
}

// c[e] (rows, columns) = beta c[e] + a^T b over the depths that belong to expert e. Grid: tiles of C * experts.
template <class Tile, class C>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksPerProcessor)
multiply_depths(Grouped p, const typename Tile::Element* a, const typename Tile::Element* b, C* c, const int32_t* offsets, int beta,
                bool vector_stores) {
  const int64_t tile_rows = (p.rows + Tile::kRows - 1) / Tile::kRows, tile_columns = (p.columns + Tile::kColumns - 1) / Tile::kColumns;
  const auto depths = simt::segment_of<true>(offsets, p.experts, blockIdx.x / (tile_rows * tile_columns), p.depth);
  const TilePlace tile = tile_place(blockIdx.x % (tile_rows * tile_columns), tile_rows, tile_columns);
  const int64_t row = tile.row * Tile::kRows, column = tile.column * Tile::kColumns;
  const auto out = [&] {
    return Output<C>{c + (depths.segment * p.rows + row) * p.columns + column, p.columns, 1, nullptr, beta, int(min(p.rows - row, int64_t(Tile::kRows))),
                     int(min(p.columns - column, int64_t(Tile::kColumns))), vector_stores};
  };
  Tile::run(panel_of(a + depths.begin * p.a.depth, p.a, row, p.rows, Tile::kRows),
            panel_of(b + depths.begin * p.b.depth, p.b, column, p.columns, Tile::kColumns), depths.end - depths.begin, out);
}

constexpr int kBiasColumns = 32, kBiasGroups = 8;

// db[e] += columns of the rows of expert e. Grid: stripes of 32 columns * experts; eight groups of threads take every eighth row, and their sums are
// added in order. Reads dy once.
template <class T>
__global__ void __launch_bounds__(kBiasColumns * kBiasGroups)
sum_rows(const T* dy, float* db, const int32_t* offsets, int64_t experts, int64_t rows, int64_t columns) {
  SIMT_SHARED(float, sums, [kBiasGroups][kBiasColumns]);
  const int64_t stripes = (columns + kBiasColumns - 1) / kBiasColumns;
  const auto own = simt::segment_of<true>(offsets, experts, blockIdx.x / stripes, rows);
  const int group = int(threadIdx.x) / kBiasColumns;
  const int64_t column = blockIdx.x % stripes * kBiasColumns + threadIdx.x % kBiasColumns;
  float sum = 0;
  if (column < columns) {
    for (int64_t r = own.begin + group; r < own.end; r += kBiasGroups) { sum += float(dy[r * columns + column]); }
  }
  sums[group][threadIdx.x % kBiasColumns] = sum;
  __syncthreads();
  if (group == 0 && column < columns) {
    for (int g = 1; g < kBiasGroups; ++g) { sum += sums[g][threadIdx.x % kBiasColumns]; }
    db[own.segment * columns + column] += sum;
  }
}

template <bool kBDepthMajor, Epilogue::Kind E>
void by_rows(const Grouped& p, const View& a, const View& b, const View& c, const View& bias, const View& offsets, const Epilogue& e) {
  if (p.rows == 0 || p.columns == 0) { return; }
  with_tile<true, kBDepthMajor>(a.dtype, large_tiles(p.rows / p.experts, p.columns, p.experts), [&]<class Tile>() {
    using T = typename Tile::Element;
    const int64_t blocks = simt::segment_blocks(p.rows, p.experts + 1, Tile::kRows) * tiles_of(p.columns, Tile::kColumns);
    bool vector_stores = stores_vectors(c, p.columns, 1, true);
    for (const View& v : {e.y, e.other}) { vector_stores &= !v || stores_vectors(v, p.columns, 1, true); }
    simt::launch<multiply_rows<Tile, T, E>>({.grid = unsigned(blocks), .block = Tile::kThreads, .smem = Tile::kSharedBytes}, p, a.as<const T>(),
                                            b.as<const T>(), c.as<T>(), bias.as<const float>(), offsets.as<const int32_t>(), vector_stores, e.y.as<T>(),
                                            e.other.as<T>(), e.f);
  });
}

}  // namespace

void grouped_forward(const GroupedForward& a) {
  const int64_t E = a.w.shape[0], out = a.w.shape[1], in = a.w.shape[2];
  const Grouped p{E, a.x.shape[0], out, in, layout_of(a.x, in, 1, true), layout_of(a.w, in, 1, true)};
  const auto run = [&]<Epilogue::Kind kind>() { by_rows<true, kind>(p, a.x, a.w, a.y, a.b, a.offsets, a.epilogue); };
  switch (a.epilogue.kind) {
    case Epilogue::gelu: return run.template operator()<Epilogue::gelu>();
    case Epilogue::swiglu: return run.template operator()<Epilogue::swiglu>();
    default: return run.template operator()<Epilogue::none>();
  }
}

void grouped_dgrad(const GroupedDgrad& a) {
  const int64_t E = a.w.shape[0], out = a.w.shape[1], in = a.w.shape[2];
  const Grouped p{E, a.dy.shape[0], in, out, layout_of(a.dy, out, 1, true), layout_of(a.w, 1, in, true)};
  const auto run = [&]<Epilogue::Kind kind>() { by_rows<false, kind>(p, a.dy, a.w, a.dx, {}, a.offsets, a.epilogue); };
  switch (a.epilogue.kind) {
    case Epilogue::gelu_backward: return run.template operator()<Epilogue::gelu_backward>();
    case Epilogue::swiglu_backward: return run.template operator()<Epilogue::swiglu_backward>();
    case Epilogue::add: return run.template operator()<Epilogue::add>();
    default: return run.template operator()<Epilogue::none>();
  }
}

void grouped_wgrad(const GroupedWgrad& a) {
  const int64_t E = a.dw.shape[0], out = a.dw.shape[1], in = a.dw.shape[2];
  if (a.dw.size() == 0) { return; }
  const Grouped p{E, out, in, a.dy.shape[0], layout_of(a.dy, 1, out, true), layout_of(a.x, 1, in, true)};
  with_tile<false, false>(a.dy.dtype, large_tiles(out, in, E), [&]<class Tile>() {
    simt::launch_typed(a.dw.dtype, [&]<class C>() {
      using T = typename Tile::Element;
      const int64_t blocks = tiles_of(out, Tile::kRows) * tiles_of(in, Tile::kColumns) * E;
      simt::launch<multiply_depths<Tile, C>>({.grid = unsigned(blocks), .block = Tile::kThreads, .smem = Tile::kSharedBytes}, p, a.dy.as<const T>(),
                                             a.x.as<const T>(), a.dw.as<C>(), a.offsets.as<const int32_t>(), a.beta,
                                             stores_vectors(a.dw, in, 1, true));
    });
  });
}

void grouped_bias(const GroupedBias& a) {
  const int64_t E = a.db.shape[0], out = a.db.shape[1];
  if (a.db.size() == 0) { return; }
  simt::launch_typed(a.dy.dtype, [&]<class T>() {
    simt::launch<sum_rows<T>>({.grid = unsigned(E * tiles_of(out, kBiasColumns)), .block = kBiasColumns * kBiasGroups}, a.dy.as<const T>(),
                              a.db.as<float>(), a.offsets.as<const int32_t>(), E, a.dy.shape[0], out);
  });
}

}  // namespace pumice::cuda
