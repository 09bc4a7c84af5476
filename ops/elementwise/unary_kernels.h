// y = f(x) and dx = dy f'(x), the latter from x or from y, whichever is cheaper. Packed arrays of n elements.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

enum class Unary : int32_t { affine, exp, log, sqrt, square, tanh, sigmoid, relu, silu, gelu_tanh, gelu_erf, gelu_quick };
enum class Gelu;
Unary unary_of(Gelu form);
struct UnaryFwd {
  View y, x;
  Unary f;
  double scale, shift;  // affine: y = scale x + shift
};
struct UnaryBwd {
  View dx, dy, saved;   // saved: x for log, square, relu, silu and gelu; y for exp, sqrt, tanh and sigmoid
  Unary f;
  double scale;
};
PUMICE_DECLARE_KERNEL(unary_fwd, UnaryFwd);
PUMICE_DECLARE_KERNEL(unary_bwd, UnaryBwd);

}  // namespace pumice
