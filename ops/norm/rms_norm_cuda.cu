// rms_norm on CUDA. Traffic: forward reads x and writes y once (w stays in L2); backward reads x and dy and writes dx once (with beta, reads it too), plus
// 4 C bytes of partial sums of dw per team of rows.
#include "pumice/ops/norm/rms_norm_kernels.h"
#include "pumice/tensor/simt/rows.h"
#include "pumice/tensor/simt/sum_columns.h"

namespace pumice::cuda {
namespace {

// A team per row: x (R, C), w (C) -> y (R, C), rrms (R).
template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
rms_norm_rows(T* y, float* rrms_out, const T* x, const float* w, int64_t rows, int64_t cols, float eps) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const simt::Row<T, Team> row(x + r * cols, cols);
  const float rrms = 1 / sqrtf(simt::row_sum(cols, [](int64_t, float v) { return v * v; }, row) / float(cols) + eps);
  const simt::SharedRow<float, Team> w_row{w};
  simt::row_store(y + r * cols, cols, [=](int64_t, float v, float wc) { return v * rrms * wc; }, row, w_row);
  if (threadIdx.x % (Team::kBlock / Team::kTeams) == 0) { rrms_out[r] = rrms; }
}

// dx of one row.
template <class T, class Team> __device__ __forceinline__ void store_dx(T* dx, const simt::Row<T, Team>& dy_row, const simt::Row<T, Team>& x_row,
                                                                       const float* w, float rrms, int64_t cols, int beta) {
  const simt::SharedRow<float, Team> w_row{w};
  const float mean = simt::row_sum(cols, [](int64_t, float g, float v, float wc) { return g * wc * v; }, dy_row, x_row, w_row) * rrms / float(cols);
  simt::row_store_sum(dx, cols, beta, [=](int64_t, float g, float v, float wc) { return rrms * (g * wc - v * rrms * mean); }, dy_row, x_row, w_row);
}

// A team takes rows_per_team rows, one after the other. Each thread sums dw of its own columns in registers and writes it at the end:
// partial (teams, C).
template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock, 1)
rms_norm_rows_bwd(T* dx, float* partial, const T* dy, const T* x, const float* w, const float* rrms_in, int64_t rows, int64_t cols,
                  int64_t rows_per_team, int beta) {
  constexpr int V = Team::kVector;
  const int64_t team = Team::number();
  if (team * rows_per_team >= rows) { return; }
  simt::Vector<float, V> dw[Team::kVectors] = {};
  for (int64_t r = team * rows_per_team; r < min((team + 1) * rows_per_team, rows); ++r) {
    const simt::Row<T, Team> x_row(x + r * cols, cols), dy_row(dy + r * cols, cols);
    const float rrms = rrms_in[r];
    Team::each(cols, [&](int k, int64_t c) {
      const auto xv = x_row.at(k, c), g = dy_row.at(k, c);
      SIMT_UNROLL
      for (int j = 0; j < V; ++j) { dw[k].v[j] += float(g.v[j]) * float(xv.v[j]) * rrms; }
    });
    if (dx) { store_dx(dx + r * cols, dy_row, x_row, w, rrms, cols, beta); }
  }
  Team::each(cols, [&](int k, int64_t c) { simt::store_vector(partial + team * cols + c, dw[k]); });
}

// Rows too long for registers: dx alone, a block per row ...
template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
rms_norm_long_rows_bwd(T* dx, const T* dy, const T* x, const float* w, const float* rrms, int64_t cols, int beta) {
  const int64_t r = Team::number();
  const simt::Row<T, Team> x_row(x + r * cols, cols), dy_row(dy + r * cols, cols);
  store_dx(dx + r * cols, dy_row, x_row, w, rrms[r], cols, beta);
}
// ... and the partial sums, a thread per column and block of rows. Grid: column blocks, teams.
template <class T> __global__ void __launch_bounds__(256)
rms_norm_long_rows_partial(float* partial, const T* dy, const T* x, const float* rrms, int64_t rows, int64_t cols, int64_t rows_per_team) {
  const int64_t c = int64_t(blockIdx.x) * 256 + threadIdx.x, team = blockIdx.y;
  if (c >= cols) { return; }
  float dw = 0;
  for (int64_t r = team * rows_per_team; r < min((team + 1) * rows_per_team, rows); ++r) {
    dw += float(dy[r * cols + c]) * float(x[r * cols + c]) * rrms[r];
  }
  partial[team * cols + c] = dw;
}

template <class T> void long_rows_bwd(const RmsNormBwd& a, int64_t teams) {
  const T *dy = a.dy.as<T>(), *x = a.x.as<T>();
  const float* rrms = a.rrms.as<float>();
  if (a.dx) {
    using Team = simt::RowTeam<1, 256, 0>;
    simt::launch<rms_norm_long_rows_bwd<T, Team>>(Team::cover(a.rows), a.dx.as<T>(), dy, x, a.w.as<float>(), rrms, a.cols, a.beta);
  }
  simt::launch<rms_norm_long_rows_partial<T>>({.grid = dim3(simt::blocks_for(a.cols, 256), unsigned(teams)), .block = 256}, a.scratch.as<float>(), dy,
                                              x, rrms, a.rows, a.cols, a.rows_per_block);
}

}  // namespace

void rms_norm_fwd(const RmsNormFwd& a) {
  if (!a.rows) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::with_row_team<T>(a.cols, simt::aligned16(a.x.data, a.y.data, a.w.data), [&]<class Team>() {
      simt::launch<rms_norm_rows<T, Team>>(Team::cover(a.rows), a.y.as<T>(), a.rrms.as<float>(), a.x.as<T>(), a.w.as<float>(), a.rows, a.cols,
                                           float(a.eps));
    });
  });
}

void rms_norm_bwd(const RmsNormBwd& a) {
  if (!a.rows) { return; }
  const int64_t teams = (a.rows + a.rows_per_block - 1) / a.rows_per_block, C = a.cols;
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    const bool aligned = simt::aligned16(a.x.data, a.dy.data, a.w.data) && (!a.dx || simt::aligned16(a.dx.data));
    if (C > simt::kMostSummingColumns) { return long_rows_bwd<T>(a, teams); }
    simt::with_summing_row_team<T>(C, aligned, [&]<class Team>() {
      simt::launch<rms_norm_rows_bwd<T, Team>>(Team::cover(teams), a.dx.as<T>(), a.scratch.as<float>(), a.dy.as<T>(), a.x.as<T>(), a.w.as<float>(),
                                               a.rrms.as<float>(), a.rows, C, a.rows_per_block, a.beta);
    });
  });
  simt::sum_columns(a.dw.as<float>(), 0, 1, simt::Columns<float>{a.scratch.as<float>(), 1, teams, C, 0, C, 1}, 1, 1);
}

}  // namespace pumice::cuda
