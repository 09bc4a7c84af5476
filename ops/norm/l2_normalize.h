#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Rows of unit length (up to eps), as both towers' features are before the contrastive loss.
//   x (..., C)   ->   y (..., C), dtype of x        y = x / (|x| + eps), |x| over the last axis in f32 (f64 for f64)
// The gradient at a zero row is that of x / eps. Throws ShapeError, DTypeError.
Tensor l2_normalize(const Tensor& x, double eps = 1e-8);

}  // namespace pumice
