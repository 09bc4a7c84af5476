// What the CPU and CUDA kernels of softmax and log_softmax share: their arguments. Outputs first; everything packed.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct SoftmaxFwd {
  View y, x;  // (R, C) dtype of x
  int64_t rows, cols;
};
struct SoftmaxBwd {
  View dx, dy, y;  // (R, C)
  int64_t rows, cols;
};
struct LogSoftmaxFwd {
  View y, lse, x;  // (R, C) dtype of x, (R) f32 or f64, (R, C)
  int64_t rows, cols;
};
struct LogSoftmaxBwd {
  View dx, dy, x, lse;
  int64_t rows, cols;
};

PUMICE_DECLARE_KERNEL(softmax_fwd, SoftmaxFwd);
PUMICE_DECLARE_KERNEL(softmax_bwd, SoftmaxBwd);
PUMICE_DECLARE_KERNEL(log_softmax_fwd, LogSoftmaxFwd);
PUMICE_DECLARE_KERNEL(log_softmax_bwd, LogSoftmaxBwd);

}  // namespace pumice
