// Reductions of a (O, R, I) view into (O, I): outer, reduced and inner axes, any strides.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct SumArgs {
  View y, x;     // (O, I), (O, R, I)
  double scale;  // of the sum
};
struct MaxArgs {
  View y, index, x;  // (O, I), i64 (O, I): first position of the largest along R
};
struct MaxBackwardArgs {
  View dx, dy, index;  // dx (O, R, I) is zero on entry
};
PUMICE_DECLARE_KERNEL(sum_axis, SumArgs);
PUMICE_DECLARE_KERNEL(max_axis, MaxArgs);
PUMICE_DECLARE_KERNEL(max_axis_bwd, MaxBackwardArgs);

}  // namespace pumice
