// What the kernels of attention share. q, out and their gradients are (Tq, H, D) views with dense D, k and v (Tk, Hkv, D); the rows of
// sequence n are [q_offsets[n], q_offsets[n + 1]) and [k_offsets[n], k_offsets[n + 1]).
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct AttentionFwd {
  View out, lse;     // (Tq, H, D); (Tq, H) f32 or f64: log of the sum of exponentials of each row of scaled scores
  View q, k, v, q_offsets, k_offsets;
  double scale;
  bool causal;
  int64_t window;   // 0: none
  int64_t longest;  // no sequence has more queries or more keys; 0: unknown
};
struct AttentionBwd {
  View dq, dk, dv;
  View dout, out, lse, q, k, v, q_offsets, k_offsets;
  double scale;
  bool causal;
  int64_t window;
};

PUMICE_DECLARE_KERNEL(attention_fwd, AttentionFwd);
PUMICE_DECLARE_KERNEL(attention_bwd, AttentionBwd);

}  // namespace pumice
