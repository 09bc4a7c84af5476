// What the CPU and CUDA kernels of sigmoid_cross_entropy share: their arguments. Outputs first; everything packed.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct SigmoidCrossEntropyFwd {
  View loss, row_loss;  // () and (N) scratch, f32 or f64
  View x, labels;       // (N, V), (N) i32
  int64_t rows, cols;
};
struct SigmoidCrossEntropyBwd {
  View dx;              // (N, V) dtype of x
  View dy, x, labels;
  int64_t rows, cols;
};

PUMICE_DECLARE_KERNEL(sigmoid_cross_entropy_fwd, SigmoidCrossEntropyFwd);
PUMICE_DECLARE_KERNEL(sigmoid_cross_entropy_bwd, SigmoidCrossEntropyBwd);

}  // namespace pumice
