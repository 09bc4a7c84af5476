// Moving rows by index: gather, and the deterministic scatter-add that is its gradient.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct GatherRows {
  View y, x, rows;  // (R, C), (T, C), i32 (R); -1 gives a zero row
};
// y[t] = beta y[t] + sum over i in order of x[i] where rows[i] = t. With beta 1, rows that nothing names are not touched.
struct ScatterAddRows {
  View y, x, rows;  // (T, C), (R, C), i32 (R)
  View first, next; // i32 scratch (T + 1) and (R). CPU: the first i of each t's chain and the next one, ascending. CUDA: where the i of each t
                    // begin in `next`, which holds all of them in order of (t, i)
  int beta;
};
PUMICE_DECLARE_KERNEL(gather_rows_kernel, GatherRows);
PUMICE_DECLARE_KERNEL(scatter_add_rows_kernel, ScatterAddRows);

// Host side: y += (beta 1) or = (beta 0) the scattered rows of x.
class Tensor;
void scatter_add_into(const Tensor& y, const Tensor& x, const Tensor& rows, int beta);
// rows, packed and on `device`. Throws ShapeError, naming `op`, unless they are i32 (R) with values in [lowest, T). Rows that lie on CUDA already are
// left to the kernels, which end with a KernelError: reading them here would wait for the device.
Tensor checked_rows(const char* op, const char* operand, const Tensor& rows, int64_t lowest, int64_t T, Device device);

}  // namespace pumice
