// Reductions on CUDA, in a fixed order. Dense rows are summed by teams, long ones in pieces that a second launch adds up; other layouts
// go through sum_columns.
#include "pumice/ops/reduce/reduce_kernels.h"
#include "pumice/tensor/simt/rows.h"
#include "pumice/tensor/simt/sum_columns.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int64_t kPiece = 8192;  // columns of a row that one team sums

template <class Y, class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
sum_row_pieces(Y* y, const T* x, int64_t rows, int64_t cols, int64_t row_stride, int64_t y_stride, int64_t pieces, float scale) {
  const int64_t task = Team::number();
  if (task >= rows * pieces) { return; }
  const int64_t r = task / pieces, first = task % pieces * kPiece, n = min(kPiece, cols - first);
  const simt::Row<T, Team> piece(x + r * row_stride + first, n);
  const float sum = simt::row_sum(n, [](int64_t, float v) { return v; }, piece);
  if (threadIdx.x % (Team::kBlock / Team::kTeams) == 0) { y[task * y_stride] = Y(sum * scale); }
}

template <class T> void sum_rows(const SumArgs& a, int64_t O, int64_t R) {
  const int64_t pieces = R <= kPiece ? 1 : (R + kPiece - 1) / kPiece, stride = a.x.stride[0];
  const bool aligned = simt::aligned16(a.x.data) && stride % simt::kVectorOf<T> == 0 && R % simt::kVectorOf<T> == 0;
  const T* x = a.x.as<T>();
  simt::with_row_team<T>(R < kPiece ? R : kPiece, aligned, [&]<class Team>() {
    if constexpr (Team::kHeld != 0) {
      if (pieces == 1) {
        simt::launch<sum_row_pieces<T, T, Team>>(Team::cover(O), a.y.as<T>(), x, O, R, stride, a.y.stride[0], pieces, float(a.scale));
        return;
      }
      simt::DeviceScratch<float> partial(O * pieces);
      simt::launch<sum_row_pieces<float, T, Team>>(Team::cover(O * pieces), partial.get(), x, O, R, stride, int64_t(1), pieces, 1.0f);
      simt::sum_columns(a.y.as<T>(), a.y.stride[0], 0, simt::Columns<float>{partial.get(), O, pieces, 1, pieces, 1, 1}, float(a.scale));
    }
  });
}

// A warp per row: each lane keeps the first largest of every 32nd element, then lanes are compared; a NaN is the maximum.
struct Largest {
  float value;
  int64_t at;
  __device__ bool beats(const Largest& o) const {
    const bool nan = value != value, o_nan = o.value != o.value;
    if (nan != o_nan) { return nan; }
    if (nan || value == o.value) { return at < o.at; }
    return value > o.value;
  }
};
struct Better {
  __device__ Largest operator()(const Largest& a, const Largest& b) const { return a.beats(b) ? a : b; }
};

template <class T> __global__ void __launch_bounds__(kBlock)
max_rows(T* y, int64_t* index, const T* x, int64_t rows, int64_t cols, int64_t stride_o, int64_t stride_r) {
  const int64_t o = int64_t(blockIdx.x) * (kBlock / 32) + threadIdx.x / 32;
  if (o >= rows) { return; }
  const T* row = x + o * stride_o;
  const int lane = threadIdx.x % 32;
  Largest best{-__builtin_inff(), lane < cols ? lane : cols};
  if (lane < cols) { best.value = float(row[lane * stride_r]); }
  for (int64_t r = lane + 32; r < cols; r += 32) { best = Better()(best, {float(row[r * stride_r]), r}); }
  for (int k = 16; k; k >>= 1) {
    best = Better()(best, {__shfl_xor_sync(~0u, best.value, k), __shfl_xor_sync(~0u, best.at, k)});
  }
  if (lane == 0) {
    y[o] = row[best.at * stride_r];
    index[o] = best.at;
  }
}

template <class T> __global__ void __launch_bounds__(kBlock) max_rows_bwd(T* dx, const T* dy, const int64_t* index, int64_t rows, int64_t stride_o) {
  const int64_t o = int64_t(blockIdx.x) * kBlock + threadIdx.x;
  if (o < rows) { dx[o * stride_o + index[o]] = dy[o]; }
}

}  // namespace

void sum_axis(const SumArgs& a) {
  const int64_t O = a.x.shape[0], R = a.x.shape[1], I = a.x.shape[2];
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    T* y = a.y.as<T>();
    const T* x = a.x.as<T>();
    if (R == 1 && I == 1) {  // nothing to add up: one wide row of columns
      simt::sum_columns(y, 0, a.y.stride[0], simt::Columns<T>{x, 1, 1, O, 0, 0, a.x.stride[0]}, float(a.scale));
    } else if (I == 1 && a.x.stride[1] == 1 && O) {
      sum_rows<T>(a, O, R);
    } else {
      simt::sum_columns(y, a.y.stride[0], a.y.stride[1], simt::Columns<T>{x, O, R, I, a.x.stride[0], a.x.stride[1], a.x.stride[2]}, float(a.scale));
    }
  });
}

void max_axis(const MaxArgs& a) {
  const int64_t O = a.x.shape[0], R = a.x.shape[1];
  if (!O) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::launch<max_rows<T>>({.grid = simt::blocks_for(O, kBlock / 32, INT32_MAX), .block = kBlock}, a.y.as<T>(), a.index.as<int64_t>(), a.x.as<T>(), O,
                              R, a.x.stride[0], a.x.stride[1]);
  });
}

void max_axis_bwd(const MaxBackwardArgs& a) {
  const int64_t O = a.dx.shape[0];
  if (!O) { return; }
  simt::launch_typed(a.dx.dtype, [&]<class T>() {
    simt::launch<max_rows_bwd<T>>({.grid = simt::blocks_for(O, kBlock, INT32_MAX), .block = kBlock}, a.dx.as<T>(), a.dy.as<T>(), a.index.as<int64_t>(),
                                  O, a.dx.stride[0]);
  });
}

}  // namespace pumice::cuda
