#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Functions of each element: x (any shape, float) -> the same shape and dtype, computed in f32 (f64). Throws DTypeError.
Tensor neg(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor sqrt(const Tensor& x);     // the gradient at 0 is infinite
Tensor square(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor relu(const Tensor& x);     // the gradient at 0 is 0
Tensor silu(const Tensor& x);     // x sigmoid(x) (Elfwing, Uchibe, Doya 2017, arXiv:1702.03118)

}  // namespace pumice
