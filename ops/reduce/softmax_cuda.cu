// softmax and log_softmax on CUDA: a team per row, which is read once where registers hold it (up to 8192 columns).
#include "pumice/ops/reduce/softmax_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::cuda {
namespace {

template <class T, class Team> __device__ __forceinline__ float row_log_sum_exp(int64_t cols, const simt::Row<T, Team>& row) {
  const float top = simt::row_max(cols, row);
  return top + log_of(simt::row_sum(cols, [=](int64_t, float x) { return exp_of(x - top); }, row));
}

template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock) softmax_rows(T* y, const T* x, int64_t rows, int64_t cols) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const simt::Row<T, Team> row(x + r * cols, cols);
  const float lse = row_log_sum_exp(cols, row);
  simt::row_store(y + r * cols, cols, [=](int64_t, float v) { return exp_of(v - lse); }, row);
}

template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
softmax_rows_bwd(T* dx, const T* dy, const T* y, int64_t rows, int64_t cols) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const simt::Row<T, Team> dy_row(dy + r * cols, cols), y_row(y + r * cols, cols);
  const float dot = simt::row_sum(cols, [](int64_t, float g, float p) { return g * p; }, dy_row, y_row);
  simt::row_store(dx + r * cols, cols, [=](int64_t, float g, float p) { return p * (g - dot); }, dy_row, y_row);
}

template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
log_softmax_rows(T* y, float* lse_out, const T* x, int64_t rows, int64_t cols) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const simt::Row<T, Team> row(x + r * cols, cols);
  const float lse = row_log_sum_exp(cols, row);
  simt::row_store(y + r * cols, cols, [=](int64_t, float v) { return v - lse; }, row);
  if (threadIdx.x % (Team::kBlock / Team::kTeams) == 0) { lse_out[r] = lse; }
}

template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
log_softmax_rows_bwd(T* dx, const T* dy, const T* x, const float* lse_in, int64_t rows, int64_t cols) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const simt::Row<T, Team> dy_row(dy + r * cols, cols), x_row(x + r * cols, cols);
  const float lse = lse_in[r], sum = simt::row_sum(cols, [](int64_t, float g) { return g; }, dy_row);
  simt::row_store(dx + r * cols, cols, [=](int64_t, float g, float v) { return g - exp_of(v - lse) * sum; }, dy_row, x_row);
}

}  // namespace

void softmax_fwd(const SoftmaxFwd& a) {
  if (!a.rows) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::with_row_team<T>(a.cols, simt::aligned16(a.x.data, a.y.data), [&]<class Team>() {
      simt::launch<softmax_rows<T, Team>>(Team::cover(a.rows), a.y.as<T>(), a.x.as<T>(), a.rows, a.cols);
    });
  });
}

void softmax_bwd(const SoftmaxBwd& a) {
  if (!a.rows) { return; }
  simt::launch_typed(a.y.dtype, [&]<class T>() {
    simt::with_row_team<T>(a.cols, simt::aligned16(a.y.data, a.dy.data, a.dx.data), [&]<class Team>() {
      simt::launch<softmax_rows_bwd<T, Team>>(Team::cover(a.rows), a.dx.as<T>(), a.dy.as<T>(), a.y.as<T>(), a.rows, a.cols);
    });
  });
}

void log_softmax_fwd(const LogSoftmaxFwd& a) {
  if (!a.rows) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::with_row_team<T>(a.cols, simt::aligned16(a.x.data, a.y.data), [&]<class Team>() {
      simt::launch<log_softmax_rows<T, Team>>(Team::cover(a.rows), a.y.as<T>(), a.lse.as<float>(), a.x.as<T>(), a.rows, a.cols);
    });
  });
}

void log_softmax_bwd(const LogSoftmaxBwd& a) {
  if (!a.rows) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::with_row_team<T>(a.cols, simt::aligned16(a.x.data, a.dy.data, a.dx.data), [&]<class Team>() {
      simt::launch<log_softmax_rows_bwd<T, Team>>(Team::cover(a.rows), a.dx.as<T>(), a.dy.as<T>(), a.x.as<T>(), a.lse.as<float>(), a.rows, a.cols);
    });
  });
}

}  // namespace pumice::cuda
