// What the kernels of attention share. q, k, v, out and their gradients are (T, H, D) views with dense D.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct AttentionFwd {
  View out, lse;     // (T, H, D); (T, H) f32 or f64: log of the sum of exponentials of each row of scaled scores
  View q, k, v, offsets;
  double scale;
  bool causal;
};
struct AttentionBwd {
  View dq, dk, dv;
  View dout, out, lse, q, k, v, offsets;
  double scale;
  bool causal;
};

PUMICE_DECLARE_KERNEL(attention_fwd, AttentionFwd);
PUMICE_DECLARE_KERNEL(attention_bwd, AttentionBwd);

}  // namespace pumice
