#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Over the last axis, with the row's maximum taken out first; sums in f32 (f64 for f64).
//   x (..., C)   ->   y (..., C), dtype of x
//   softmax:  y = exp(x) / sum_C(exp(x))        log_softmax:  y = x - log(sum_C(exp(x)))
// An element of -inf has probability 0; a row of nothing else has no distribution and becomes NaN.
// Throws ShapeError, DTypeError.
Tensor softmax(const Tensor& x);
Tensor log_softmax(const Tensor& x);

}  // namespace pumice
