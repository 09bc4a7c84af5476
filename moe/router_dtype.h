// The element type of router tensors: f32, or f64 when gradients are checked; never bf16. Free of STL.
#pragma once
#include "pumice/tensor/dtype.h"

namespace pumice {

// dispatch_router(logits.dtype, [&]<class T>() { ... });   T = float or double
template <class F> PUMICE_INLINE void dispatch_router(DType d, const F& f) {
  if (d == DType::f64) { f.template operator()<double>(); } else { f.template operator()<float>(); }
}

}  // namespace pumice
