// Sums over the axes along which a shape was broadcast: the gradient of broadcasting.
#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// g (any shape that `shape` broadcasts to) -> shape. g itself when they are equal. No graph.
Tensor sum_to(const Tensor& g, const Shape& shape);

}  // namespace pumice
