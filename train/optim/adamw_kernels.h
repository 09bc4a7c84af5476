// Arguments of the optimizer's kernels: flat f32 arrays of n elements.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct AdamWStep {
  View p, m, v;  // updated
  View g;
  int64_t begin, end;  // the range of the arena that shares these settings
  float lr, beta1, beta2, eps, decay, correction1, correction2, gradient_scale;  // correction: 1 / (1 - beta^t)
};
struct SumSquares {
  View partial;  // f64 (blocks)
  View x;        // f32 (n)
  int64_t n, block;
};

PUMICE_DECLARE_KERNEL(adamw_step, AdamWStep);
PUMICE_DECLARE_KERNEL(sum_squares, SumSquares);

}  // namespace pumice
