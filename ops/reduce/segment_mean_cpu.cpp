#include "pumice/ops/reduce/segment_mean_kernels.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {

void segment_mean_fwd(const SegmentMeanFwd& a) {
  const int64_t N = a.y.shape[0], C = a.y.shape[1], T = a.x.shape[0];
  const int32_t* offsets = a.offsets.as<int32_t>();
  dispatch_float(a.x.dtype, [&]<class E>() {
    using A = Acc<E>;
    parallel_for(N, grain_for(N ? T / N * C : 1), [&](int64_t begin, int64_t end) {
      A* sums = scratch<A>(0, C + 1);
      for (int64_t n = begin; n < end; ++n) {
        for (int64_t c = 0; c < C; ++c) { sums[c] = 0; }
        for (int64_t r = offsets[n]; r < offsets[n + 1]; ++r) {
          const E* x = a.x.as<E>() + r * C;
          for (int64_t c = 0; c < C; ++c) { sums[c] += A(x[c]); }
        }
        const A share = A(1) / A(offsets[n + 1] - offsets[n]);
        for (int64_t c = 0; c < C; ++c) { a.y.as<E>()[n * C + c] = E(sums[c] * share); }
      }
    });
  });
}

void segment_mean_bwd(const SegmentMeanBwd& a) {
  const int64_t N = a.dy.shape[0], C = a.dy.shape[1], T = a.dx.shape[0];
  const int32_t* offsets = a.offsets.as<int32_t>();
  dispatch_float(a.dx.dtype, [&]<class E>() {
    using A = Acc<E>;
    parallel_for(N, grain_for(N ? T / N * C : 1), [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const A share = A(1) / A(offsets[n + 1] - offsets[n]);
        const E* dy = a.dy.as<E>() + n * C;
        for (int64_t r = offsets[n]; r < offsets[n + 1]; ++r) {
          E* dx = a.dx.as<E>() + r * C;
          for (int64_t c = 0; c < C; ++c) { dx[c] = E(A(dy[c]) * share); }
        }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
