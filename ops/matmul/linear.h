#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Affine map of the last axis: y = x w^T + b.
//   x (..., in)   w (out, in), dtype of x   b (out), f32 (f64 beside f64), or undefined   ->   y (..., out), dtype of x; sums in f32
// Throws ShapeError, DTypeError, DeviceError.
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b);

}  // namespace pumice
