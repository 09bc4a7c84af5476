// What the CPU and CUDA kernels of layer_norm share: their arguments. Outputs first; everything packed.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct LayerNormFwd {
  View y, mean, rstd;  // (R, C) dtype of x; (R), (R) f32 or f64
  View x, w, b;        // (R, C), (C), (C)
  int64_t rows, cols;
  double eps;
};
struct LayerNormBwd {
  View dx;             // (R, C) dtype of x, becomes beta dx + the gradient; absent when nobody wants it
  View dw, db;         // (C) f32 or f64, added into
  View dy, x, w, mean, rstd;
  View scratch;        // (2, blocks, C) of the accumulator type: partial sums of dw and db per block of rows
  int64_t rows, cols, rows_per_block;
  int beta;            // 0 or 1
};

PUMICE_DECLARE_KERNEL(layer_norm_fwd, LayerNormFwd);
PUMICE_DECLARE_KERNEL(layer_norm_bwd, LayerNormBwd);

}  // namespace pumice
