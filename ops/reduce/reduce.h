#pragma once
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

// Reductions over `axes` (negative ones count from the end; none = all), summed in f32 (f64) in a fixed order.
//   x (any shape, float) -> x's shape without the axes, or with length 1 there (keepdims); dtype of x
// max: the gradient goes to the first largest element. mean and max of nothing throw ShapeError.
Tensor sum(const Tensor& x, const std::vector<int>& axes = {}, bool keepdims = false);
Tensor mean(const Tensor& x, const std::vector<int>& axes = {}, bool keepdims = false);
Tensor max(const Tensor& x, const std::vector<int>& axes = {}, bool keepdims = false);

}  // namespace pumice
