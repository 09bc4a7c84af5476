// layer_norm on CUDA. Traffic: forward reads x and writes y once (w and b stay in L2); backward reads x and dy and writes dx once (with beta, reads it too),
// plus 8 C bytes of partial parameter sums per team of rows.
#include "pumice/ops/norm/layer_norm_kernels.h"
#include "pumice/tensor/simt/rows.h"
#include "pumice/tensor/simt/sum_columns.h"

namespace pumice::cuda {
namespace {

// A team per row: mean, then the variance around it, from registers.
template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
layer_norm_rows(T* y, float* mean_out, float* rstd_out, const T* x, const float* w, const float* b, int64_t rows, int64_t cols, float eps) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const simt::Row<T, Team> row(x + r * cols, cols);
  const float mean = simt::row_sum(cols, [](int64_t, float v) { return v; }, row) / float(cols);
  const float var = simt::row_sum(cols, [=](int64_t, float v) { return (v - mean) * (v - mean); }, row) / float(cols);
  const float rstd = 1 / sqrtf(var + eps);
  const simt::SharedRow<float, Team> w_row{w}, b_row{b};
  simt::row_store(y + r * cols, cols, [=](int64_t, float v, float wc, float bc) { return (v - mean) * rstd * wc + bc; }, row, w_row, b_row);
  if (threadIdx.x % (Team::kBlock / Team::kTeams) == 0) {
    mean_out[r] = mean;
    rstd_out[r] = rstd;
  }
}

// dx of one row.
template <class T, class Team> __device__ __forceinline__ void store_dx(T* dx, const simt::Row<T, Team>& dy_row, const simt::Row<T, Team>& x_row,
                                                                       const float* w, float mean, float rstd, int64_t cols, int beta) {
  const simt::SharedRow<float, Team> w_row{w};
  const float dnorm_mean = simt::row_sum(cols, [](int64_t, float g, float wc) { return g * wc; }, dy_row, w_row) / float(cols);
  const float dnorm_norm_mean = simt::row_sum(cols, [=](int64_t, float g, float v, float wc) {
    return g * wc * ((v - mean) * rstd);
  }, dy_row, x_row, w_row) / float(cols);
  const auto gradient = [=](int64_t, float g, float v, float wc) { return rstd * (g * wc - dnorm_mean - (v - mean) * rstd * dnorm_norm_mean); };
  simt::row_store_sum(dx, cols, beta, gradient, dy_row, x_row, w_row);
}

// A team takes rows_per_team rows, one after the other. Each thread sums dw and db of its own columns in registers and writes them at the end:
// partial (2, teams, C).
template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock, 1)
layer_norm_rows_bwd(T* dx, float* partial, const T* dy, const T* x, const float* w, const float* mean_in, const float* rstd_in, int64_t rows,
                    int64_t cols, int64_t rows_per_team, int beta) {
  constexpr int V = Team::kVector;
  const int64_t team = Team::number(), teams = (rows + rows_per_team - 1) / rows_per_team;
  if (team >= teams) { return; }
  float dw[Team::kVectors][V] = {}, db[Team::kVectors][V] = {};
  for (int64_t r = team * rows_per_team; r < min((team + 1) * rows_per_team, rows); ++r) {
    const simt::Row<T, Team> x_row(x + r * cols, cols), dy_row(dy + r * cols, cols);
    const float mean = mean_in[r], rstd = rstd_in[r];
    Team::each(cols, [&](int k, int64_t c) {
      const auto xv = x_row.at(k, c), g = dy_row.at(k, c);
      SIMT_UNROLL
      for (int j = 0; j < V; ++j) {
        dw[k][j] += float(g.v[j]) * (float(xv.v[j]) - mean) * rstd;
        db[k][j] += float(g.v[j]);
      }
    });
    if (dx) { store_dx(dx + r * cols, dy_row, x_row, w, mean, rstd, cols, beta); }
  }
  Team::each(cols, [&](int k, int64_t c) {
    simt::Vector<float, V> dwv, dbv;
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) {
      dwv.v[j] = dw[k][j];
      dbv.v[j] = db[k][j];
    }
    simt::store_vector(partial + team * cols + c, dwv);
    simt::store_vector(partial + (teams + team) * cols + c, dbv);
  });
}

// Rows too long for registers: dx alone, a block per row ...
template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
layer_norm_long_rows_bwd(T* dx, const T* dy, const T* x, const float* w, const float* mean_in, const float* rstd_in, int64_t cols,
                         int beta) {
  const int64_t r = Team::number();
  const simt::Row<T, Team> x_row(x + r * cols, cols), dy_row(dy + r * cols, cols);
  store_dx(dx + r * cols, dy_row, x_row, w, mean_in[r], rstd_in[r], cols, beta);
}
// ... and the partial sums, a thread per column and block of rows.
template <class T> __global__ void __launch_bounds__(256)
layer_norm_long_rows_partial(float* partial, const T* dy, const T* x, const float* mean, const float* rstd, int64_t rows, int64_t cols,
                             int64_t rows_per_team) {
  const int64_t c = int64_t(blockIdx.x) * 256 + threadIdx.x, team = blockIdx.y, teams = gridDim.y;
  if (c >= cols) { return; }
  float dw = 0, db = 0;
  for (int64_t r = team * rows_per_team; r < min((team + 1) * rows_per_team, rows); ++r) {
    const float g = float(dy[r * cols + c]);
    dw += g * (float(x[r * cols + c]) - mean[r]) * rstd[r];
    db += g;
  }
  partial[team * cols + c] = dw;
  partial[(teams + team) * cols + c] = db;
}

template <class T> void long_rows_bwd(const LayerNormBwd& a, int64_t teams) {
  const T *dy = a.dy.as<T>(), *x = a.x.as<T>();
  const float *w = a.w.as<float>(), *mean = a.mean.as<float>(), *rstd = a.rstd.as<float>();
  if (a.dx) {
    using Team = simt::RowTeam<1, 256, 0>;
    simt::launch<layer_norm_long_rows_bwd<T, Team>>(Team::cover(a.rows), a.dx.as<T>(), dy, x, w, mean, rstd, a.cols, a.beta);
  }
  simt::launch<layer_norm_long_rows_partial<T>>({.grid = dim3(simt::blocks_for(a.cols, 256), unsigned(teams)), .block = 256}, a.scratch.as<float>(), dy,
                                                x, mean, rstd, a.rows, a.cols, a.rows_per_block);
}

}  // namespace

void layer_norm_fwd(const LayerNormFwd& a) {
  if (!a.rows) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::with_row_team<T>(a.cols, simt::aligned16(a.x.data, a.y.data, a.w.data, a.b.data), [&]<class Team>() {
      simt::launch<layer_norm_rows<T, Team>>(Team::cover(a.rows), a.y.as<T>(), a.mean.as<float>(), a.rstd.as<float>(), a.x.as<T>(), a.w.as<float>(),
                                             a.b.as<float>(), a.rows, a.cols, float(a.eps));
    });
  });
}

void layer_norm_bwd(const LayerNormBwd& a) {
  if (!a.rows) { return; }
  const int64_t teams = (a.rows + a.rows_per_block - 1) / a.rows_per_block, C = a.cols;
  float* partial = a.scratch.as<float>();
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    const bool aligned = simt::aligned16(a.x.data, a.dy.data, a.w.data) && (!a.dx || simt::aligned16(a.dx.data));
    if (C > simt::kMostSummingColumns) { return long_rows_bwd<T>(a, teams); }
    simt::with_summing_row_team<T>(C, aligned, [&]<class Team>() {
      simt::launch<layer_norm_rows_bwd<T, Team>>(Team::cover(teams), a.dx.as<T>(), partial, a.dy.as<T>(), a.x.as<T>(), a.w.as<float>(),
                                                 a.mean.as<float>(), a.rstd.as<float>(), a.rows, C, a.rows_per_block, a.beta);
    });
  });
  const simt::Columns<float> dw{partial, 1, teams, C, 0, C, 1}, db{partial + teams * C, 1, teams, C, 0, C, 1};
  simt::sum_columns(a.dw.as<float>(), 0, 1, dw, 1, 1);
  simt::sum_columns(a.db.as<float>(), 0, 1, db, 1, 1);
}

}  // namespace pumice::cuda
