#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// cross_entropy(linear(x, w, b), labels) whose logits never exist as a whole: rows are taken in pieces, forward and again backward, so that a
// vocabulary of 150,000 costs one more product instead of N V numbers. Rows whose label is `ignore` are left out of every product.
//   x (N, C)   w (V, C), dtype of x   b (V) f32 (f64) or undefined   labels i32 (N)   ->   () f32 (f64): the mean over rows that are not ignored
// Labels on the CPU are read there; labels on a CUDA device are copied from it, which waits for the device.
// Throws ShapeError (also when every label is ignored), DTypeError, DeviceError, UsageError for a label outside [0, V).
Tensor linear_cross_entropy(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& labels, int ignore = -100);

}  // namespace pumice
