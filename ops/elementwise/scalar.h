#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// x (any shape, float) -> s x and x + s, dtype of x. Throws DTypeError.
Tensor scale(const Tensor& x, double s);
Tensor add_scalar(const Tensor& x, double s);

}  // namespace pumice
