#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

enum class Gelu { tanh, erf, quick };

// Gaussian error linear unit (Hendrycks, Gimpel 2016, arXiv:1606.08415): x (any shape, float) -> the same shape and dtype.
//   erf:  y = x Phi(x) = x / 2 (1 + erf(x / sqrt 2))           dy/dx = Phi(x) + x phi(x)
//   tanh: y = x / 2 (1 + tanh(u)),  u = sqrt(2 / pi) (x + 0.044715 x^3)     (flax's and GPT-2's default)
//   quick: y = x sigmoid(1.702 x)                            (CLIP's)
// Saves x only. Throws DTypeError.
Tensor gelu(const Tensor& x, Gelu form = Gelu::tanh);

}  // namespace pumice
