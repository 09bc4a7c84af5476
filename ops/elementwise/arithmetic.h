#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Elementwise arithmetic of two tensors of one float dtype under NumPy's broadcasting rules, any strides.
//   a, b   ->   the broadcast shape, same dtype; computed in f32 (f64)
// The gradient of a broadcast operand is summed back to its shape. Throws ShapeError, DTypeError, DeviceError.
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);

}  // namespace pumice
