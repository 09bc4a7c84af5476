#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Matrix product over the last two axes; leading axes broadcast.
//   a (..., M, K)   b (..., K, N), one dtype   ->   (..., M, N) of that dtype; sums in f32 (f64)
// trans_a: a is stored (..., K, M); trans_b: b is stored (..., N, K). Any strides. Throws ShapeError, DTypeError, DeviceError.
Tensor matmul(const Tensor& a, const Tensor& b, bool trans_a = false, bool trans_b = false);

}  // namespace pumice
