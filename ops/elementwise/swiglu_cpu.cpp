#include "pumice/ops/elementwise/swiglu_kernels.h"
#include "pumice/ops/elementwise/unary_math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {

void swiglu_fwd(const SwigluFwd& a) {
  dispatch_float(a.y.dtype, [&]<class T>() {
    using A = Acc<T>;
    T* __restrict y = a.y.as<T>();
    const T *__restrict gate = a.gate.as<T>(), *__restrict up = a.up.as<T>();
    parallel_for(a.y.size(), 8192, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) { y[i] = T(swish(A(gate[i]), A(1)) * A(up[i])); }
    });
  });
}

void swiglu_bwd(const SwigluBwd& a) {
  dispatch_float(a.dy.dtype, [&]<class T>() {
    using A = Acc<T>;
    T *__restrict dgate = a.dgate.as<T>(), *__restrict dup = a.dup.as<T>();
    const T *__restrict dy = a.dy.as<T>(), *__restrict gate = a.gate.as<T>(), *__restrict up = a.up.as<T>();
    parallel_for(a.dy.size(), 8192, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const A g = A(gate[i]);
        dgate[i] = T(A(dy[i]) * A(up[i]) * swish_slope(g, A(1)));
        dup[i] = T(A(dy[i]) * swish(g, A(1)));
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
