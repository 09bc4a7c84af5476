// What the CPU and CUDA kernels of rms_norm share: their arguments. Outputs first; everything packed.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct RmsNormFwd {
  View y, rrms;        // (R, C) dtype of x; (R) f32 or f64: 1 / sqrt(mean(x^2) + eps)
  View x, w;           // (R, C), (C)
  int64_t rows, cols;
  double eps;
};
struct RmsNormBwd {
  View dx;             // (R, C) dtype of x, becomes beta dx + the gradient; absent when nobody wants it
  View dw;             // (C) f32 or f64, added into
  View dy, x, w, rrms;
  View scratch;        // (blocks, C) of the accumulator type: partial sums of dw per block of rows
  int64_t rows, cols, rows_per_block;
  int beta;            // 0 or 1
};

PUMICE_DECLARE_KERNEL(rms_norm_fwd, RmsNormFwd);
PUMICE_DECLARE_KERNEL(rms_norm_bwd, RmsNormBwd);

}  // namespace pumice
