#pragma once
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

// Tensors one after the other along `axis`; all other lengths and the dtype are equal. Throws ShapeError naming both shapes.
Tensor concat(const std::vector<Tensor>& parts, int axis);

}  // namespace pumice
