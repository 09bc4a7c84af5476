#include "pumice/moe/dispatch_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {

void combine_fwd(const CombineFwd& a) {
  const int64_t T = a.out.shape[0], C = a.out.shape[1], K = a.row.shape[1];
  const int32_t* row = a.row.as<int32_t>();
  dispatch_float(a.y.dtype, [&]<class E>() {
    using A = Acc<E>;
    const A* gate = a.gate.as<A>();
    parallel_for(T, grain_for(K * C), [&](int64_t begin, int64_t end) {
      A* sums = scratch<A>(0, C + 1);
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t c = 0; c < C; ++c) { sums[c] = 0; }
        for (int64_t k = 0; k < K; ++k) {
          if (row[t * K + k] < 0) { continue; }
          const E* y = a.y.as<E>() + row[t * K + k] * C;
          const A g = gate[t * K + k];
          for (int64_t c = 0; c < C; ++c) { sums[c] += g * A(y[c]); }
        }
        E* out = a.out.as<E>() + t * C;
        for (int64_t c = 0; c < C; ++c) { out[c] = E(sums[c]); }
      }
    });
  });
}

void combine_bwd(const CombineBwd& a) {
  const int64_t T = a.row.shape[0], K = a.row.shape[1], C = a.dout.shape[1];
  const int32_t* row = a.row.as<int32_t>();
  dispatch_float(a.dout.dtype, [&]<class E>() {
    using A = Acc<E>;
    const A* gate = a.gate.as<A>();
    parallel_for(T, grain_for(2 * K * C), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const E* dout = a.dout.as<E>() + t * C;
        for (int64_t k = 0; k < K; ++k) {
          const int64_t r = row[t * K + k];
          if (a.dgate) {
            const E* y = a.y.as<E>() + r * C;
            a.dgate.as<A>()[t * K + k] = r < 0 ? A(0) : lane_sum<A>(C, [&](int64_t c) { return A(dout[c]) * A(y[c]); });
          }
          if (a.dy && r >= 0) {  // a row has one token: no two tasks write it
            E* dy = a.dy.as<E>() + r * C;
            const A g = gate[t * K + k];
            for (int64_t c = 0; c < C; ++c) { dy[c] = E(g * A(dout[c])); }
          }
        }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
