// What tensor/ itself computes: copy with conversion, accumulate, fill. Any strides; shapes of dst and src are equal.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct CopyArgs { View dst, src; };        // any dtype to any dtype; f16 converts through f32
struct AccumulateArgs { View dst, src; };  // dst += src in the accumulator type of dst
struct FillArgs { View dst; double value; };

PUMICE_DECLARE_KERNEL(copy_kernel, CopyArgs);
PUMICE_DECLARE_KERNEL(accumulate_kernel, AccumulateArgs);
PUMICE_DECLARE_KERNEL(fill_kernel, FillArgs);

}  // namespace pumice
