#pragma once
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

// Rotary position embedding (Su et al. 2021, arXiv:2104.09864) of the first R of D elements of every head, in the order of GPT-NeoX: element i
// is paired with element i + R / 2, not with its neighbour. The others pass.
//   x (T, H, D), any strides with dense D   positions i32 (T), >= 0   frequencies f32 (R / 2), R <= D   ->   (T, H, D), dtype of x
//   a = positions[t] frequencies[i]
//   y[i] = s (x[i] cos a - x[i + R/2] sin a)     y[i + R/2] = s (x[i + R/2] cos a + x[i] sin a)     i < R / 2
// s: `scale`, 1 but in YaRN. Angles and their cosines are computed in f32 (f64 for f64 x). Throws ShapeError, DTypeError, DeviceError.
Tensor rotary(const Tensor& x, const Tensor& positions, const Tensor& frequencies, double scale = 1);

// theta^(-2 i / R) for i < R / 2, rounded to f32: the usual frequencies. R even, or UsageError.
std::vector<float> rotary_frequencies(int64_t R, double theta);

}  // namespace pumice
