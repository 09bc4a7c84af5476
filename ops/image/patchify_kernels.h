// What the CPU and CUDA kernels of patchify share: their arguments. Outputs first; everything packed.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct PatchifyFwd {
  View y, pixels;  // (B, (H/p)*(W/p), p*p*3) f32, bf16 or f64; u8 (B, H, W, 3)
  int64_t batch, height, width, patch;
  double gain[3], bias[3];  // y = x * gain + bias
};

PUMICE_DECLARE_KERNEL(patchify_fwd, PatchifyFwd);

}  // namespace pumice
