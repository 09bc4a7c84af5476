// CPU kernels of l2_normalize: one row at a time, twice while it stays in cache.
#include "pumice/ops/norm/l2_normalize_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {

void l2_normalize_fwd(const L2NormalizeFwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    parallel_for(a.rows, grain_for(2 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* x = a.x.as<T>() + r * a.cols;
        T* y = a.y.as<T>() + r * a.cols;
        A norm = sqrt_of(lane_sum<A>(a.cols, [&](int64_t c) { return A(x[c]) * A(x[c]); }));
        A scale = A(1) / (norm + A(a.eps));
        for (int64_t c = 0; c < a.cols; ++c) { y[c] = T(A(x[c]) * scale); }
        a.norm.as<A>()[r] = norm;
      }
    });
  });
}

void l2_normalize_bwd(const L2NormalizeBwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    parallel_for(a.rows, grain_for(4 * a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T *x = a.x.as<T>() + r * a.cols, *dy = a.dy.as<T>() + r * a.cols;
        T* dx = a.dx.as<T>() + r * a.cols;
        A norm = a.norm.as<A>()[r], scale = A(1) / (norm + A(a.eps));
        A dot = lane_sum<A>(a.cols, [&](int64_t c) { return A(dy[c]) * (A(x[c]) * scale); });  // scaled first: x may be tiny
        A along = norm > A(0) ? dot / norm : A(0);
        for (int64_t c = 0; c < a.cols; ++c) { dx[c] = T((A(dy[c]) - A(x[c]) * along) * scale); }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
