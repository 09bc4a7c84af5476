// y = a op b over views of one shape; a broadcast operand has stride 0.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

enum class Arithmetic : int32_t { add, sub, mul, div };
struct ArithmeticArgs {
  View y, a, b;
  Arithmetic op;
};
PUMICE_DECLARE_KERNEL(arithmetic, ArithmeticArgs);

}  // namespace pumice
