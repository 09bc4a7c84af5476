#pragma once
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

// Differentiable views: metadata only, the result shares x's array. Errors are those of Tensor's methods of the same names.
Tensor reshape(const Tensor& x, const Shape& shape);  // one length may be -1; a strided x is packed first
Tensor slice(const Tensor& x, int axis, int64_t begin, int64_t end);  // dx is zero outside
Tensor permute(const Tensor& x, const std::vector<int>& axes);
Tensor transpose(const Tensor& x, int a, int b);
Tensor expand(const Tensor& x, const Shape& shape);   // dx is summed over the repeats

}  // namespace pumice
