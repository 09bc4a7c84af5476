#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// One affine map per expert over the rows that belong to it: y[r] = x[r] w[e]^T + b[e] for offsets[e] <= r < offsets[e + 1].
//   x (R, in)   w (E, out, in), dtype of x   b (E, out) f32 (f64), or undefined   offsets i32 (E + 1)   ->   y (R, out)
// Experts without rows are allowed and get a zero gradient. Offsets on the CPU are checked before anything runs; on a CUDA device the host does
// not wait for them, and offsets that do not rise from 0 to R end the kernel with an error. Throws ShapeError, DTypeError, DeviceError.
Tensor grouped_linear(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& offsets);

}  // namespace pumice
