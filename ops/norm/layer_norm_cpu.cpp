// CPU kernels of layer_norm: two passes over a row that stays in cache; parameter gradients through one partial sum per block
// of rows, added in block order, so that the result does not depend on the number of threads.
#include "pumice/ops/norm/layer_norm_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {

void layer_norm_fwd(const LayerNormFwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A *w = a.w.as<A>(), *b = a.b.as<A>();
    parallel_for(a.rows, grain_for(4 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* x = a.x.as<T>() + r * a.cols;
        T* y = a.y.as<T>() + r * a.cols;
        A mean = lane_sum<A>(a.cols, [&](int64_t c) { return A(x[c]); }) / A(a.cols);
        // two passes: E[x^2] - mean^2 cancels when the mean is large
        A var = lane_sum<A>(a.cols, [&](int64_t c) { return (A(x[c]) - mean) * (A(x[c]) - mean); }) / A(a.cols);
        A rstd = A(1) / sqrt_of(var + A(a.eps));
        for (int64_t c = 0; c < a.cols; ++c) { y[c] = T((A(x[c]) - mean) * rstd * w[c] + b[c]); }
        a.mean.as<A>()[r] = mean;
        a.rstd.as<A>()[r] = rstd;
      }
    });
  });
}

void layer_norm_bwd(const LayerNormBwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A* w = a.w.as<A>();
    const int64_t C = a.cols, blocks = (a.rows + a.rows_per_block - 1) / a.rows_per_block;
    parallel_for(a.rows, a.rows_per_block, [&](int64_t begin, int64_t end) {
      int64_t block = begin / a.rows_per_block;
      A* dw = a.scratch.as<A>() + block * C;
      A* db = a.scratch.as<A>() + (blocks + block) * C;
      for (int64_t c = 0; c < C; ++c) { dw[c] = db[c] = 0; }
      for (int64_t r = begin; r < end; ++r) {
        const T *x = a.x.as<T>() + r * C, *dy = a.dy.as<T>() + r * C;
        A mean = a.mean.as<A>()[r], rstd = a.rstd.as<A>()[r];
        for (int64_t c = 0; c < C; ++c) {
          dw[c] += A(dy[c]) * (A(x[c]) - mean) * rstd;
          db[c] += A(dy[c]);
        }
        if (!a.dx) { continue; }
        A dnorm_mean = lane_sum<A>(C, [&](int64_t c) { return A(dy[c]) * w[c]; }) / A(C);
        A dnorm_norm_mean = lane_sum<A>(C, [&](int64_t c) { return A(dy[c]) * w[c] * ((A(x[c]) - mean) * rstd); }) / A(C);
        T* dx = a.dx.as<T>() + r * C;
        const auto gradient = [&](int64_t c) { return rstd * (A(dy[c]) * w[c] - dnorm_mean - (A(x[c]) - mean) * rstd * dnorm_norm_mean); };
        if (a.beta) { for (int64_t c = 0; c < C; ++c) { dx[c] = T(A(dx[c]) + gradient(c)); } }
        else { for (int64_t c = 0; c < C; ++c) { dx[c] = T(gradient(c)); } }
      }
    });
    for (int64_t block = 0; block < blocks; ++block) {
      const A *dw = a.scratch.as<A>() + block * C, *db = a.scratch.as<A>() + (blocks + block) * C;
      for (int64_t c = 0; c < C; ++c) {
        a.dw.as<A>()[c] += dw[c];
        a.db.as<A>()[c] += db[c];
      }
    }
  });
}

}  // namespace pumice::PUMICE_ISA
