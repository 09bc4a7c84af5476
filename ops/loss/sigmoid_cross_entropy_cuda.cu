// sigmoid_cross_entropy on CUDA: one pass over the logits each way, a team of threads per row.
#include "pumice/ops/loss/sigmoid_cross_entropy_kernels.h"
#include "pumice/tensor/simt/rows.h"
#include "pumice/tensor/simt/scalar_math.h"
#include "pumice/tensor/simt/sum_in_order.h"

namespace pumice::cuda {
namespace {

template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
row_losses(float* row_loss, const T* x, const int32_t* labels, int64_t rows, int64_t cols) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const simt::Row<T, Team> row(x + r * cols, cols);
  const float sum = simt::row_sum(cols, [](int64_t, float v) { return simt::softplus(v); }, row);
  if (threadIdx.x % (Team::kBlock / Team::kTeams) == 0) { row_loss[r] = sum - float(x[r * cols + labels[r]]); }
}

template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
sigmoid_cross_entropy_rows_bwd(T* dx, const float* dy, const T* x, const int32_t* labels, int64_t rows, int64_t cols) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const float scale = *dy / float(rows);
  const int32_t label = labels[r];
  const simt::Row<T, Team> row(x + r * cols, cols);
  simt::row_store(dx + r * cols, cols, [=](int64_t c, float v) { return scale * (simt::sigmoid(v) - (c == label ? 1.0f : 0.0f)); }, row);
}

}  // namespace

void sigmoid_cross_entropy_fwd(const SigmoidCrossEntropyFwd& a) {
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    const T* x = a.x.as<T>();
    simt::with_row_team<T>(a.cols, simt::aligned16(x), [&]<class Team>() {
      simt::launch<row_losses<T, Team>>(Team::cover(a.rows), a.row_loss.as<float>(), x, a.labels.as<int32_t>(), a.rows, a.cols);
    });
  });
  simt::write_sum(a.loss.as<float>(), a.row_loss.as<float>(), a.rows, double(a.rows));
}

void sigmoid_cross_entropy_bwd(const SigmoidCrossEntropyBwd& a) {
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    const T* x = a.x.as<T>();
    T* dx = a.dx.as<T>();
    simt::with_row_team<T>(a.cols, simt::aligned16(x, dx), [&]<class Team>() {
      simt::launch<sigmoid_cross_entropy_rows_bwd<T, Team>>(Team::cover(a.rows), dx, a.dy.as<float>(), x, a.labels.as<int32_t>(), a.rows, a.cols);
    });
  });
}

}  // namespace pumice::cuda
