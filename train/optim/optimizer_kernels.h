// Arguments of the optimizers' kernels: flat f32 arrays laid out as the parameter arena.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct AdamWStep {
  View p, m, v;  // updated
  View g;
  int64_t begin, end;  // the range of the arena that shares these settings
  float lr, beta1, beta2, eps, decay, correction1, correction2, gradient_scale;  // correction: 1 / (1 - beta^t)
};
// p -= lr u' + decay p, with u' the average of u = g / sqrt(second moment); the moment is v, or of a (rows, cols) matrix the outer product
// of its row and column means. `count` matrices stand one behind the other: p, g and m, and the moments as row, col, row, col ...
struct AdafactorStep {
  float* p;                 // updated
  View m;                   // updated, f32 or bf16; its data is null without momentum
  const float* g;
  float *v, *row, *col;     // updated: v (size) of what is not factored; row (rows) and col (cols) of what is, v null
  double* partial;          // scratch (count, blocks, cols), blocks of kAdafactorRows rows
  int64_t count, rows, cols;  // 1, (1, size) when not factored
  float lr, beta1, beta2, decay, gradient_scale;
};
inline constexpr int64_t kAdafactorRows = 64;
struct AverageStep {
  View average, x;  // average = decay * average + (1 - decay) * x
  int64_t n;
  float decay;
};
struct SumSquares {
  View partial;  // f64 (blocks)
  View x;        // f32 (n)
  int64_t n, block;
};

PUMICE_DECLARE_KERNEL(adamw_step, AdamWStep);
PUMICE_DECLARE_KERNEL(adafactor_step, AdafactorStep);
PUMICE_DECLARE_KERNEL(average_step, AverageStep);
PUMICE_DECLARE_KERNEL(sum_squares, SumSquares);

}  // namespace pumice
