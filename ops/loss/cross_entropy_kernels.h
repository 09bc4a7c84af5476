// What the CPU and CUDA kernels of cross_entropy share: their arguments. Outputs first; everything packed.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct CrossEntropyFwd {
  View loss, lse;   // () and (N) f32 or f64
  View census;      // (2) i64: how many rows count; the first row whose label is neither ignored nor in [0, V), or -1.
                    // With such a row nothing else is of use.
  View row_loss;    // (N) scratch
  View x, labels;   // (N, V), (N) i32
  int64_t rows, cols;
  int32_t ignore;
  double smoothing;
};
struct CrossEntropyBwd {
  View dx;          // (N, V) dtype of x
  View dy, x, labels, lse, census;
  int64_t rows, cols;
  int32_t ignore;
  double smoothing;
};

PUMICE_DECLARE_KERNEL(cross_entropy_fwd, CrossEntropyFwd);
PUMICE_DECLARE_KERNEL(cross_entropy_bwd, CrossEntropyBwd);

}  // namespace pumice
