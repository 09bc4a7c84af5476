// Dense products by cuBLASLt where it is loaded (gemm_cublaslt_cuda.cpp), else our own, on the tiles of choose_tile_cuda.h: one block per tile of C. A small C over a long depth (weight gradients) is cut along depth as
// well; the parts go to memory in f32 and are added in order, so that no atomics are needed and the bits are the same on every run.
#include <optional>

#include "pumice/ops/matmul/choose_tile_cuda.h"
#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/elementwise/arithmetic_kernels.h"
#include "pumice/ops/elementwise/swiglu_kernels.h"
#include "pumice/ops/matmul/gemm_cublaslt_cuda.h"
#include "pumice/tensor/cuda_libraries.h"
#include "pumice/tensor/simt/device_scratch.h"
#include "pumice/tensor/simt/sum_columns.h"

namespace pumice::cuda {
namespace {

constexpr int64_t kPartDepth = 512;   // about the least depth of a part
constexpr int64_t kPartUnit = 64;     // depths of parts are multiples of it, so that parts begin at 16 bytes
constexpr int64_t kMostParts = 16;

struct Batches {
  int rank = 0;
  int64_t shape[kMaxRank] = {}, a[kMaxRank] = {}, b[kMaxRank] = {}, c[kMaxRank] = {};

  __device__ __forceinline__ void offsets(int64_t index, int64_t& at_a, int64_t& at_b, int64_t& at_c) const {
    at_a = at_b = at_c = 0;
    for (int i = rank - 1; i >= 0; --i) {
      const int64_t here = index % shape[i];
      index /= shape[i];
      at_a += here * a[i];
      at_b += here * b[i];
      at_c += here * c[i];
    }
  }
};

struct Product {
  int64_t rows, columns, depth;
  Layout a, b;
  int64_t c_row, c_column;
  int64_t part_depth, part_stride;  // depth of a part, and distance of the parts of C
  int beta;
  bool vector_stores;
  Batches batches;
};

// Grid (tiles of C * batches, parts), tile by tile of a batch. Shared memory: Tile::kSharedBytes.
template <class Tile, class C, Epilogue::Kind E = Epilogue::none>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksPerProcessor)
multiply_tiles(Product p, const typename Tile::Element* a, const typename Tile::Element* b, C* c, const float* bias, C* y, C* other, Unary f) {
  const int64_t tile_rows = (p.rows + Tile::kRows - 1) / Tile::kRows, tile_columns = (p.columns + Tile::kColumns - 1) / Tile::kColumns;
  const TilePlace tile = tile_place(blockIdx.x % (tile_rows * tile_columns), tile_rows, tile_columns);
  int64_t at_a, at_b, at_c;
  p.batches.offsets(blockIdx.x / (tile_rows * tile_columns), at_a, at_b, at_c);
  const int64_t row = tile.row * Tile::kRows, column = tile.column * Tile::kColumns, k = blockIdx.y * p.part_depth;
  const auto out = [&] {
    const int64_t at = row * p.c_row + column * p.c_column;
    return Output<C, E>{c + at_c + blockIdx.y * p.part_stride + at, p.c_row, p.c_column, bias ? bias + column : nullptr, p.beta,
                        int(min(p.rows - row, int64_t(Tile::kRows))), int(min(p.columns - column, int64_t(Tile::kColumns))), p.vector_stores,
                        y ? y + at : nullptr, other ? other + at : nullptr, f};
  };
  Tile::run(panel_of(a + at_a + k * p.a.depth, p.a, row, p.rows, Tile::kRows),
            panel_of(b + at_b + k * p.b.depth, p.b, column, p.columns, Tile::kColumns), min(p.depth - k, p.part_depth), out);
}

// c = beta c + bias + the sum of its parts (parts, batches, rows, columns), in order.
template <class C>
__global__ void __launch_bounds__(256) add_parts(Product p, int64_t parts, int64_t total, const float* sums, C* c, const float* bias) {
  for (int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x; i < total; i += int64_t(gridDim.x) * 256) {
    float sum = 0;
    for (int64_t s = 0; s < parts; ++s) { sum += sums[s * total + i]; }
    const int64_t column = i % p.columns, row = i / p.columns % p.rows;
    int64_t at_a, at_b, at_c;
    p.batches.offsets(i / (p.rows * p.columns), at_a, at_b, at_c);
    C* to = c + at_c + row * p.c_row + column * p.c_column;
    if (bias) { sum += bias[column]; }
    *to = C(p.beta ? float(*to) + sum : sum);
  }
}

Product product_of(const GemmArgs& g) {
  const int r = g.c.rank;
  const int64_t chunk = 16 / size_of(g.a.dtype);
  Product p{.rows = g.c.shape[r - 2], .columns = g.c.shape[r - 1], .depth = g.a.shape[r - 1], .c_row = g.c.stride[r - 2], .c_column = g.c.stride[r - 1],
            .beta = g.beta};
  bool a_aligned = true, b_aligned = true, c_aligned = true;
  for (int i = 0; i < r - 2; ++i) {
    const int n = p.batches.rank++;
    p.batches.shape[n] = g.c.shape[i];
    p.batches.a[n] = g.a.stride[i];
    p.batches.b[n] = g.b.stride[i];
    p.batches.c[n] = g.c.stride[i];
    a_aligned &= g.a.stride[i] % chunk == 0;
    b_aligned &= g.b.stride[i] % chunk == 0;
    c_aligned &= g.c.stride[i] * size_of(g.c.dtype) % 16 == 0;
  }
  p.a = layout_of(g.a, g.a.stride[r - 2], g.a.stride[r - 1], a_aligned);
  p.b = layout_of(g.b, g.b.stride[r - 1], g.b.stride[r - 2], b_aligned);
  p.vector_stores = stores_vectors(g.c, p.c_row, p.c_column, c_aligned);
  p.part_depth = p.depth;
  return p;
}

// Parts of a product whose tiles alone would leave most processors idle: about two blocks for each of 132.
int64_t parts_of(const Product& p, int64_t tiles) {
  const int64_t parts = min(min(p.depth / kPartDepth, 264 / tiles), kMostParts);
  return parts < 2 ? 1 : parts;
}

template <class Tile, class C> void launch_tiles(const Product& p, int64_t tiles, int64_t parts, const GemmArgs& g, C* c, const float* bias) {
  using T = typename Tile::Element;
  simt::launch<multiply_tiles<Tile, C>>({.grid = {unsigned(tiles), unsigned(parts)}, .block = Tile::kThreads, .smem = Tile::kSharedBytes}, p,
                                        g.a.as<const T>(), g.b.as<const T>(), c, bias, nullptr, nullptr, g.epilogue.f);
}

// The parts of C as (parts, batches, rows, columns) in f32, then their sum.
template <class Tile, class C> void multiply_in_parts(const Product& p, int64_t tiles, int64_t most, const GemmArgs& g) {
  Product part = p;
  part.part_depth = tiles_of(tiles_of(p.depth, most), kPartUnit) * kPartUnit;
  const int64_t total = g.c.size(), parts = tiles_of(p.depth, part.part_depth);
  simt::DeviceScratch<float> sums(parts * total);
  part.part_stride = total;
  part.c_row = p.columns;
  part.c_column = 1;
  part.beta = 0;
  part.vector_stores = p.columns % 4 == 0;
  int64_t stride = p.rows * p.columns;
  for (int i = p.batches.rank - 1; i >= 0; stride *= p.batches.shape[i--]) { part.batches.c[i] = stride; }
  launch_tiles<Tile, float>(part, tiles, parts, g, sums.get(), nullptr);
  simt::launch<add_parts<C>>({.grid = simt::blocks_for(total, 256), .block = 256}, p, parts, total, sums.get(), g.c.as<C>(), g.bias.as<const float>());
}

// One matrix product with its epilogue in the tiles, or false where it has to run by itself: cuBLASLt makes the product, or so few tiles that it is cut.
bool multiply_and_finish(const GemmArgs& g) {
  const Product p = product_of(g);
  if (cuda_libraries::cublaslt() || g.c.size() != p.rows * p.columns || !p.a.depth_major || p.c_column != 1) { return false; }
  const Epilogue& e = g.epilogue;
  const auto vectors = [&](const View& v) { return !v || stores_vectors(v, p.c_row, 1, true); };
  Product finished = p;
  finished.vector_stores = p.vector_stores && vectors(e.y) && vectors(e.other);
  bool done = false;
  const auto launch = [&]<class Tile>() {
    const int64_t tiles = tiles_of(p.rows, Tile::kRows) * tiles_of(p.columns, Tile::kColumns);
    if (parts_of(p, tiles) > 1) { return; }
    const auto with = [&]<Epilogue::Kind E>() {
      using T = typename Tile::Element;
      simt::launch<multiply_tiles<Tile, T, E>>({.grid = unsigned(tiles), .block = Tile::kThreads, .smem = Tile::kSharedBytes}, finished, g.a.as<const T>(),
                                               g.b.as<const T>(), g.c.as<T>(), g.bias.as<const float>(), e.y.as<T>(), e.other.as<T>(), e.f);
    };
    switch (e.kind) {
      case Epilogue::gelu: with.template operator()<Epilogue::gelu>(); break;
      case Epilogue::gelu_backward: with.template operator()<Epilogue::gelu_backward>(); break;
      case Epilogue::swiglu: with.template operator()<Epilogue::swiglu>(); break;
      case Epilogue::swiglu_backward: with.template operator()<Epilogue::swiglu_backward>(); break;
      default: with.template operator()<Epilogue::add>();
    }
    done = true;
  };
  const bool large = large_tiles(p.rows, p.columns, 1);
  if (p.b.depth_major) { with_tile<true, true>(g.a.dtype, large, launch); }
  else { with_tile<true, false>(g.a.dtype, large, launch); }
  return done;
}

// The product, then its epilogue as elementwise kernels.
void multiply_then_finish(const GemmArgs& g) {
  GemmArgs product = g;
  product.epilogue = {};
  const Epilogue& e = g.epilogue;
  std::optional<simt::DeviceScratch<char>> v;
  if (Epilogue::reads_c(e.kind)) { product.c.data = v.emplace(g.c.size() * size_of(g.c.dtype)).get(); }
  gemm_batch(product);
  switch (e.kind) {
    case Epilogue::gelu: return unary_fwd({e.y ? e.y : g.c, g.c, e.f, 1, 0});
    case Epilogue::swiglu: return swiglu_fwd({e.y ? e.y : g.c, e.other, g.c});
    case Epilogue::gelu_backward:
      if (e.y) { unary_fwd({e.y, g.c, e.f, 1, 0}); }
      return unary_bwd({g.c, product.c, g.c, e.f, 1});
    case Epilogue::swiglu_backward:
      if (e.y) { swiglu_fwd({e.y, e.other, g.c}); }
      return swiglu_bwd({e.other, g.c, product.c, e.other, g.c});  // each number is read before its place is taken
    default: arithmetic({g.c, g.c, e.other, Arithmetic::add});
  }
}

}  // namespace

void gemm_batch(const GemmArgs& g) {
  if (g.c.size() == 0) { return; }
  if (g.epilogue.kind) {
    if (!multiply_and_finish(g)) { multiply_then_finish(g); }
    return;
  }
  if (multiply_by_cublaslt(g)) { return; }
  const Product p = product_of(g);
  const int64_t count = g.c.size() / (p.rows * p.columns);
  with_tile(g.a.dtype, large_tiles(p.rows, p.columns, count), p.a, p.b, [&]<class Tile>() {
    const int64_t tiles = tiles_of(p.rows, Tile::kRows) * tiles_of(p.columns, Tile::kColumns) * count, parts = parts_of(p, tiles);
    simt::launch_typed(g.c.dtype, [&]<class C>() {
      if (parts > 1) { multiply_in_parts<Tile, C>(p, tiles, parts, g); }
      else { launch_tiles<Tile, C>(p, tiles, 1, g, g.c.as<C>(), g.bias.as<const float>()); }
    });
  });
}

void column_sums(const ColumnSumsArgs& a) {
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::sum_columns(a.sums.as<float>(), 0, 1, simt::Columns<T>{a.x.as<T>(), 1, a.x.shape[0], a.x.shape[1], 0, a.x.stride[0], a.x.stride[1]}, 1, 1);
  });
}

}  // namespace pumice::cuda
