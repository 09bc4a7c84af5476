#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Layer normalization over the last axis (Ba, Kiros, Hinton 2016, arXiv:1607.06450).
//   x (..., C)   w (C)   b (C)   ->   y (..., C), dtype of x
//   norm = (x - mean(x)) / sqrt(var(x) + eps)     y = norm * w + b     var is the biased variance, statistics in f32
// w and b are f32 (f64 when x is f64). Throws ShapeError, DTypeError, DeviceError.
Tensor layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps = 1e-5);

}  // namespace pumice
