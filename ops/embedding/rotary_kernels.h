// What the CPU and CUDA kernels of rotary share: their arguments. `sign` is 1, or -1 to rotate back.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct RotaryArgs {
  View y, x;                    // (T, H, D) with dense D
  View positions, frequencies;  // i32 (T), f32 (R / 2), packed
  int sign;
  double scale;                 // of the cosines and sines
};

PUMICE_DECLARE_KERNEL(rotary_kernel, RotaryArgs);

}  // namespace pumice
