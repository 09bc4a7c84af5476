// What the CPU and CUDA kernels of swiglu share: their arguments. Outputs first; packed arrays of one size and type.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct SwigluFwd {
  View y, gate, up;
};
struct SwigluBwd {
  View dgate, dup;
  View dy, gate, up;
};

PUMICE_DECLARE_KERNEL(swiglu_fwd, SwigluFwd);
PUMICE_DECLARE_KERNEL(swiglu_bwd, SwigluBwd);

}  // namespace pumice
