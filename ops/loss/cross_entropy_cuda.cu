// cross_entropy on CUDA. Traffic: forward reads the logits of rows that count once, backward reads them again and writes the gradient once;
// ignored rows cost their zeros alone. No probabilities are kept.
#include "pumice/ops/loss/cross_entropy_kernels.h"
#include "pumice/tensor/simt/log_sum_exp.h"
#include "pumice/tensor/simt/rows.h"
#include "pumice/tensor/simt/sum_in_order.h"

namespace pumice::cuda {
namespace {

// A team per row: log-sum-exp and loss. Rows without a usable label get zeros; a label outside [0, V) is reported by sum_rows.
template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
row_losses(float* lse_out, float* row_loss, const T* x, const int32_t* labels, int64_t rows, int64_t cols, int32_t ignore, float smoothing) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const int32_t label = labels[r];
  const bool counts = label != ignore && label >= 0 && label < cols;
  float lse = 0, loss = 0;
  if (counts) {
    const simt::Row<T, Team> row(x + r * cols, cols);
    simt::RunningLogSumExp running;
    float sum = 0;
    Team::each(cols, [&](int k, int64_t c) {
      const auto v = row.at(k, c);
      running.add(v);
      SIMT_UNROLL
      for (int j = 0; j < Team::kVector; ++j) { sum += float(v.v[j]); }
    });
    lse = running.template value_of_team<Team>();
    // without smoothing s * mean is left out rather than multiplied by zero: a masked logit of -inf makes it a NaN
    loss = lse - (1 - smoothing) * float(x[r * cols + label]);
    if (smoothing > 0) { loss -= smoothing * (Team::reduce(sum, simt::Sum(), 0.0f) / float(cols)); }
  }
  if (threadIdx.x % (Team::kBlock / Team::kTeams) == 0) {
    lse_out[r] = lse;
    row_loss[r] = loss;
  }
}

// One block: the census of the labels and the mean of the losses.
__global__ void __launch_bounds__(simt::kSumBlock)
sum_rows(float* loss, int64_t* census, const float* row_loss, const int32_t* labels, int64_t rows, int64_t cols, int32_t ignore) {
  int64_t counted = 0, last_bad = 0;  // last_bad: rows - r of the first bad row r, so that the largest is the first
  const double total = simt::sum_in_order(rows, [&](int64_t r) {
    const int32_t label = labels[r];
    const bool bad = label != ignore && (label < 0 || label >= cols);
    if (bad && last_bad == 0) { last_bad = rows - r; }
    counted += label != ignore && !bad;
    return row_loss[r];
  });
  counted = simt::block_reduce(counted, simt::Sum(), int64_t(0));
  last_bad = simt::block_reduce(last_bad, simt::Max(), int64_t(0));
  if (threadIdx.x == 0) {
    census[0] = counted;
    census[1] = last_bad ? rows - last_bad : -1;
    *loss = float(total / double(counted));
  }
}

template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock)
cross_entropy_rows_bwd(T* dx, const float* dy, const T* x, const int32_t* labels, const float* lse_in, const int64_t* census, int64_t rows,
                       int64_t cols, int32_t ignore, double smoothing) {
  const int64_t r = Team::number();
  if (r >= rows) { return; }
  const int32_t label = labels[r];
  if (label == ignore) {
    Team::each(cols, [&](int, int64_t c) {
      simt::Vector<T, Team::kVector> zeros;
      SIMT_UNROLL
      for (int j = 0; j < Team::kVector; ++j) { zeros.v[j] = T(0.0f); }
      simt::store_vector(dx + r * cols + c, zeros);
    });
    return;
  }
  const float scale = *dy / float(census[0]), lse = lse_in[r];
  const float on = scale * float(1 - smoothing), off = scale * float(smoothing / double(cols));
  const simt::Row<T, Team> row(x + r * cols, cols);
  simt::row_store(dx + r * cols, cols, [=](int64_t c, float v) { return scale * expf(v - lse) - off - (c == label ? on : 0.0f); }, row);
}

}  // namespace

void cross_entropy_fwd(const CrossEntropyFwd& a) {
  const int32_t* labels = a.labels.as<int32_t>();
  float* row_loss = a.row_loss.as<float>();
  if (a.rows) {
    simt::launch_typed(a.x.dtype, [&]<class T>() {
      const T* x = a.x.as<T>();
      simt::with_row_team<T>(a.cols, simt::aligned16(x), [&]<class Team>() {
        simt::launch<row_losses<T, Team>>(Team::cover(a.rows), a.lse.as<float>(), row_loss, x, labels, a.rows, a.cols, a.ignore, float(a.smoothing));
      });
    });
  }
  simt::launch<sum_rows>({.grid = 1, .block = simt::kSumBlock}, a.loss.as<float>(), a.census.as<int64_t>(), row_loss, labels, a.rows, a.cols,
                         a.ignore);
}

void cross_entropy_bwd(const CrossEntropyBwd& a) {
  if (!a.rows) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    const T* x = a.x.as<T>();
    T* dx = a.dx.as<T>();
    simt::with_row_team<T>(a.cols, simt::aligned16(x, dx), [&]<class Team>() {
      simt::launch<cross_entropy_rows_bwd<T, Team>>(Team::cover(a.rows), dx, a.dy.as<float>(), x, a.labels.as<int32_t>(), a.lse.as<float>(),
                                                    a.census.as<int64_t>(), a.rows, a.cols, a.ignore, a.smoothing);
    });
  });
}

}  // namespace pumice::cuda
