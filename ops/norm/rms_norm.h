#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Root-mean-square normalization over the last axis (Zhang, Sennrich 2019, arXiv:1910.07467).
//   x (..., C)   w (C)   ->   y (..., C), dtype of x
//   y = x / sqrt(mean(x^2) + eps) * w     statistics in f32
// w is f32 (f64 when x is f64). Throws ShapeError, DTypeError, DeviceError.
Tensor rms_norm(const Tensor& x, const Tensor& w, double eps = 1e-6);

}  // namespace pumice
