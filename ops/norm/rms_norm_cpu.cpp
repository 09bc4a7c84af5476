// CPU kernels of rms_norm; the gradient of w goes through one partial sum per block of rows, added in block order, so that the result
// does not depend on the number of threads.
#include "pumice/ops/norm/rms_norm_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {

void rms_norm_fwd(const RmsNormFwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A* w = a.w.as<A>();
    parallel_for(a.rows, grain_for(3 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* x = a.x.as<T>() + r * a.cols;
        T* y = a.y.as<T>() + r * a.cols;
        const A rrms = A(1) / sqrt_of(lane_sum<A>(a.cols, [&](int64_t c) { return A(x[c]) * A(x[c]); }) / A(a.cols) + A(a.eps));
        for (int64_t c = 0; c < a.cols; ++c) { y[c] = T(A(x[c]) * rrms * w[c]); }
        a.rrms.as<A>()[r] = rrms;
      }
    });
  });
}

void rms_norm_bwd(const RmsNormBwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A* w = a.w.as<A>();
    const int64_t C = a.cols, blocks = (a.rows + a.rows_per_block - 1) / a.rows_per_block;
    parallel_for(a.rows, a.rows_per_block, [&](int64_t begin, int64_t end) {
      A* dw = a.scratch.as<A>() + begin / a.rows_per_block * C;
      for (int64_t c = 0; c < C; ++c) { dw[c] = 0; }
      for (int64_t r = begin; r < end; ++r) {
        const T *x = a.x.as<T>() + r * C, *dy = a.dy.as<T>() + r * C;
        const A rrms = a.rrms.as<A>()[r];
        for (int64_t c = 0; c < C; ++c) { dw[c] += A(dy[c]) * A(x[c]) * rrms; }
        if (!a.dx) { continue; }
        const A mean = lane_sum<A>(C, [&](int64_t c) { return A(dy[c]) * w[c] * A(x[c]); }) * rrms / A(C);
        T* dx = a.dx.as<T>() + r * C;
        const auto gradient = [&](int64_t c) { return rrms * (A(dy[c]) * w[c] - A(x[c]) * rrms * mean); };
        if (a.beta) { for (int64_t c = 0; c < C; ++c) { dx[c] = T(A(dx[c]) + gradient(c)); } }
        else { for (int64_t c = 0; c < C; ++c) { dx[c] = T(gradient(c)); } }
      }
    });
    for (int64_t block = 0; block < blocks; ++block) {
      const A* dw = a.scratch.as<A>() + block * C;
      for (int64_t c = 0; c < C; ++c) { a.dw.as<A>()[c] += dw[c]; }
    }
  });
}

}  // namespace pumice::PUMICE_ISA
