// What the CPU and CUDA kernels of l2_normalize share: their arguments. Outputs first; everything packed.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct L2NormalizeFwd {
  View y, norm, x;  // (R, C) dtype of x, (R) f32 or f64, (R, C)
  int64_t rows, cols;
  double eps;
};
struct L2NormalizeBwd {
  View dx, dy, x, norm;
  int64_t rows, cols;
  double eps;
};

PUMICE_DECLARE_KERNEL(l2_normalize_fwd, L2NormalizeFwd);
PUMICE_DECLARE_KERNEL(l2_normalize_bwd, L2NormalizeBwd);

}  // namespace pumice
