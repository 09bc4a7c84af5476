// CPU kernels of softmax and log_softmax: one row at a time, read once in pieces that stay in the first-level cache for the
// running log-sum-exp, and a second time to write y = exp(x - lse) or x - lse.
#include "pumice/ops/log_sum_exp.h"
#include "pumice/ops/reduce/softmax_kernels.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int64_t kPiece = 1024;

template <class T> PUMICE_INLINE Acc<T> row_log_sum_exp(const T* x, int64_t n) {
  using A = Acc<T>;
  RunningLogSumExp<A> lse;
  for (int64_t begin = 0; begin < n; begin += kPiece) {
    const T* piece = x + begin;
    lse.add(n - begin < kPiece ? n - begin : kPiece, [=](int64_t c) { return A(piece[c]); });
  }
  return lse.value();
}

}  // namespace

void softmax_fwd(const SoftmaxFwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    parallel_for(a.rows, grain_for(16 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* x = a.x.as<T>() + r * a.cols;
        T* y = a.y.as<T>() + r * a.cols;
        A lse = row_log_sum_exp(x, a.cols);
        for (int64_t c = 0; c < a.cols; ++c) { y[c] = T(exp_of(A(x[c]) - lse)); }
      }
    });
  });
}

void softmax_bwd(const SoftmaxBwd& a) {
  dispatch_float(a.y.dtype, [&]<class T>() {
    using A = Acc<T>;
    parallel_for(a.rows, grain_for(4 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T *y = a.y.as<T>() + r * a.cols, *dy = a.dy.as<T>() + r * a.cols;
        T* dx = a.dx.as<T>() + r * a.cols;
        A dot = lane_sum<A>(a.cols, [&](int64_t c) { return A(dy[c]) * A(y[c]); });
        for (int64_t c = 0; c < a.cols; ++c) { dx[c] = T(A(y[c]) * (A(dy[c]) - dot)); }
      }
    });
  });
}

void log_softmax_fwd(const LogSoftmaxFwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    parallel_for(a.rows, grain_for(8 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* x = a.x.as<T>() + r * a.cols;
        T* y = a.y.as<T>() + r * a.cols;
        A lse = row_log_sum_exp(x, a.cols);
        a.lse.as<A>()[r] = lse;
        for (int64_t c = 0; c < a.cols; ++c) { y[c] = T(A(x[c]) - lse); }
      }
    });
  });
}

void log_softmax_bwd(const LogSoftmaxBwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    parallel_for(a.rows, grain_for(8 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T *x = a.x.as<T>() + r * a.cols, *dy = a.dy.as<T>() + r * a.cols;
        T* dx = a.dx.as<T>() + r * a.cols;
        A lse = a.lse.as<A>()[r], sum = lane_sum<A>(a.cols, [&](int64_t c) { return A(dy[c]); });
        for (int64_t c = 0; c < a.cols; ++c) { dx[c] = T(A(dy[c]) - exp_of(A(x[c]) - lse) * sum); }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
