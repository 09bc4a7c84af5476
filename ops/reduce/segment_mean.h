#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Mean over the rows of each segment: y[n] = mean of x[r] for offsets[n] <= r < offsets[n + 1], summed in f32 (f64).
//   x (T, C)   offsets i32 (N + 1), rising from 0 to T   ->   (N, C), dtype of x
// Global average pooling of packed sequences. Throws ShapeError; an empty segment has no mean.
Tensor segment_mean(const Tensor& x, const Tensor& offsets);

}  // namespace pumice
