// CPU kernels of sigmoid_cross_entropy: one pass over the logits each way. Row losses are added in f64, in order.
#include "pumice/ops/loss/sigmoid_cross_entropy_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {

void sigmoid_cross_entropy_fwd(const SigmoidCrossEntropyFwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    A* row_loss = a.row_loss.as<A>();
    parallel_for(a.rows, grain_for(16 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* x = a.x.as<T>() + r * a.cols;
        row_loss[r] = lane_sum<A>(a.cols, [=](int64_t c) { return softplus_of(A(x[c])); }) - A(x[a.labels.as<int32_t>()[r]]);
      }
    });
    double total = 0;
    for (int64_t r = 0; r < a.rows; ++r) { total += row_loss[r]; }
    *a.loss.as<A>() = A(total / double(a.rows));
  });
}

void sigmoid_cross_entropy_bwd(const SigmoidCrossEntropyBwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A scale = A(*a.dy.as<A>() / A(a.rows));
    parallel_for(a.rows, grain_for(8 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* x = a.x.as<T>() + r * a.cols;
        T* dx = a.dx.as<T>() + r * a.cols;
        const int32_t label = a.labels.as<int32_t>()[r];
        for (int64_t c = 0; c < a.cols; ++c) { dx[c] = T(scale * (sigmoid_of(A(x[c])) - (c == label ? A(1) : A(0)))); }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
