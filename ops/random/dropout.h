#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Inverted dropout (Srivastava et al. 2014): each element is kept with probability 1 - p and divided by it. The mask is a function
// of the RandomScope in force, `site` and the element's index; it is drawn again in the backward pass, so nothing is saved.
//   x (any shape, float) -> the same. p = 0 returns x. Throws UsageError unless 0 <= p < 1.
Tensor dropout(const Tensor& x, double p, uint32_t site);

}  // namespace pumice
