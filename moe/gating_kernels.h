// Float tensors are all f32 or all f64, except for the noise, which is always f32.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct GatingFwd {
  View noisy, clean, lse, noisy_lse, probs, expert, gate;  // (T, E), (T, E), (T), (T), (T, E), i32 (T, K), (T, K)
  View logits, noise, gumbel;                   // (T, E); noise and gumbel may be absent. Without noise, noisy, noisy_lse and clean are absent
  int64_t tokens, experts, per_token;
};
struct GatingBwd {
  View dlogits;                                 // (T, E)
  View dprobs, dgate, probs, expert;            // dprobs or dgate may be absent
  int64_t tokens, experts, per_token;
};
struct RenormaliseFwd {
  View y, gate, row;                            // (T, K), (T, K), i32 (T, K)
  int64_t tokens, per_token;
};
struct RenormaliseBwd {
  View dgate, dy, y, gate, row;
  int64_t tokens, per_token;
};

PUMICE_DECLARE_KERNEL(gating_fwd, GatingFwd);
PUMICE_DECLARE_KERNEL(gating_bwd, GatingBwd);
PUMICE_DECLARE_KERNEL(renormalise_kept_fwd, RenormaliseFwd);
PUMICE_DECLARE_KERNEL(renormalise_kept_bwd, RenormaliseBwd);

}  // namespace pumice
