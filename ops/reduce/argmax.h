#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Position of the first largest element along the last axis: x (..., C), float -> i32 (...). No gradient by nature.
// Throws ShapeError when C is 0.
Tensor argmax(const Tensor& x);

}  // namespace pumice
