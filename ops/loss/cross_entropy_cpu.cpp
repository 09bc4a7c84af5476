// CPU kernels of cross_entropy: a row of logits is read once, in pieces that stay in the first-level cache while the running
// log-sum-exp takes their maximum and their sum. Row losses are added in f64, in order.
#include "pumice/ops/log_sum_exp.h"
#include "pumice/ops/loss/cross_entropy_kernels.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int64_t kPiece = 1024;

// Returns false, with the row in census[1], at a label that is neither ignored nor a column.
bool take_census(const CrossEntropyFwd& a) {
  int64_t* census = a.census.as<int64_t>();
  census[0] = 0;
  census[1] = -1;
  for (int64_t r = 0; r < a.rows; ++r) {
    int32_t label = a.labels.as<int32_t>()[r];
    if (label == a.ignore) { continue; }
    if (label < 0 || label >= a.cols) {
      census[1] = r;
      return false;
    }
    census[0] += 1;
  }
  return true;
}

}  // namespace

void cross_entropy_fwd(const CrossEntropyFwd& a) {
  if (!take_census(a)) { return; }
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    A* row_loss = a.row_loss.as<A>();
    const A s = A(a.smoothing);
    parallel_for(a.rows, grain_for(8 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        int32_t label = a.labels.as<int32_t>()[r];
        a.lse.as<A>()[r] = row_loss[r] = 0;
        if (label == a.ignore) { continue; }
        const T* x = a.x.as<T>() + r * a.cols;
        RunningLogSumExp<A> lse;
        A sum = 0;
        for (int64_t c = 0; c < a.cols; c += kPiece) {
          const int64_t n = a.cols - c < kPiece ? a.cols - c : kPiece;
          lse.add(n, [=](int64_t i) { return A(x[c + i]); });
          if (s > 0) { sum += lane_sum<A>(n, [=](int64_t i) { return A(x[c + i]); }); }
        }
        a.lse.as<A>()[r] = lse.value();
        // without smoothing s * mean is left out rather than multiplied by zero: a masked logit of -inf makes it a NaN
        row_loss[r] = lse.value() - (A(1) - s) * A(x[label]) - (s > 0 ? s * (sum / A(a.cols)) : A(0));
      }
    });
    double total = 0;
    for (int64_t r = 0; r < a.rows; ++r) { total += row_loss[r]; }
    *a.loss.as<A>() = A(total / double(a.census.as<int64_t>()[0]));
  });
}

void cross_entropy_bwd(const CrossEntropyBwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A scale = A(*a.dy.as<A>() / A(a.census.as<int64_t>()[0]));
    const A on = scale * A(1 - a.smoothing), off = scale * A(a.smoothing / double(a.cols));
    parallel_for(a.rows, grain_for(8 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const int32_t label = a.labels.as<int32_t>()[r];
        T* dx = a.dx.as<T>() + r * a.cols;
        if (label == a.ignore) {
          for (int64_t c = 0; c < a.cols; ++c) { dx[c] = T(A(0)); }
          continue;
        }
        const T* x = a.x.as<T>() + r * a.cols;
        const A lse = a.lse.as<A>()[r];
        for (int64_t c = 0; c < a.cols; ++c) { dx[c] = T(scale * exp_of(A(x[c]) - lse) - off); }
        dx[label] = T(scale * exp_of(A(x[label]) - lse) - off - on);
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
