#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Affine map of the last axis: y = x w^T + b.
//   x (..., in)   w (out, in), dtype of x   b (out), f32 (f64 beside f64), or undefined   ->   y (..., out), dtype of x; sums in f32
// residual (..., out), dtype of x: added to y as it leaves the product, with the bits of add(residual, y).
// Throws ShapeError, DTypeError, DeviceError.
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& residual = {});

}  // namespace pumice
