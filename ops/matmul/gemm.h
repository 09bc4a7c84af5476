// The gemm seam: every dense product of the engine is one of these calls, on every device.
#pragma once
#include "pumice/ops/matmul/epilogue.h"
#include "pumice/tensor/kernel.h"

namespace pumice {

// c (..., M, N) = beta c + a (..., M, K) b (..., K, N) + bias (N). Batch axes of a and b broadcast to those of c by stride 0;
// transposes are strides. a and b share one of f32, bf16, f64; c is any of them; bias is f32 (f64). beta is 0 or 1. With an epilogue beta is 0 and
// c one packed matrix of a's type.
struct GemmArgs {
  View c, a, b, bias;  // bias may be absent
  int beta;
  Epilogue epilogue = {};
};
PUMICE_DECLARE_KERNEL(gemm_batch, GemmArgs);

// On the CPU a product of up to so many rows of a with rows of b^T (16 or more) adds every row in one order, however many there are.
inline constexpr int64_t kFewRows = 16;

// sums (N) += columns of x (R, N); sums is f32 or f64.
struct ColumnSumsArgs {
  View sums, x;
};
PUMICE_DECLARE_KERNEL(column_sums, ColumnSumsArgs);

}  // namespace pumice
