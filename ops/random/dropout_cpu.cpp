#include "pumice/ops/random/dropout_kernels.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {

void dropout_kernel(const DropoutArgs& a) {
  const int64_t n = a.x.size();
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A keep = A(1 / (1 - a.p));
    const T* x = a.x.as<T>();
    T* y = a.y.as<T>();
    parallel_for(n, 4096, [&](int64_t begin, int64_t end) {  // a multiple of four: blocks of Philox do not straddle pieces
      for (int64_t i = begin; i < end; i += 4) {
        Random4 r = random4(a.key, uint64_t(i / 4));
        for (int64_t j = 0; j < 4 && i + j < end; ++j) { y[i + j] = to_unit(r.v[j]) < float(a.p) ? T(A(0)) : T(A(x[i + j]) * keep); }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
