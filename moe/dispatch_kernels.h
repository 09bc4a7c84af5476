#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct DispatchRows {
  View y, x, token_of_row;     // (R, C), (T, C), i32 (R); CUDA: zeros for rows of no token, -1
  int64_t rows, cols;
};
// out[t] = sum_k(gate[t, k] * y[row[t, k]]). Without a gate every kept choice counts once: the gradient of DispatchRows.
struct CombineRows {
  View out, y, gate, row;      // (T, C), (R, C), (T, K) f32 (f64 beside f64) or absent, i32 (T, K)
  int64_t tokens, per_token, cols;
};
struct CombineRowsBwd {
  View dy, dgate;              // (R, C) every row is written, (T, K); either may be absent
  View dout, y, gate, row;
  int64_t tokens, per_token, cols;
  View expert_offsets;         // CUDA: dy is zero in rows behind the last expert's; absent: there are none
};

PUMICE_DECLARE_KERNEL(dispatch_rows, DispatchRows);
PUMICE_DECLARE_KERNEL(combine_rows, CombineRows);
PUMICE_DECLARE_KERNEL(combine_rows_bwd, CombineRowsBwd);

}  // namespace pumice
