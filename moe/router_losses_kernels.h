// Tokens come in N segments (groups, or all at once). Tensors over tokens are f32 or f64, all the same; numbers per segment are f64.
//
// Three losses have gradients of one form, so they share a backward kernel:  dlogits_ij = dy * c_n * p_ij * (v_nj - sum_k(p_ik v_nk)).
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

struct Segments {
  View offsets;        // i64 (N + 1)
  View tokens, share;  // (N), (N): tokens that count, and the segment's weight in the mean; both 0 where none count
  View modality;       // u8 (T): only tokens of modality `wanted` count; absent: all do
  int64_t count, experts, wanted;
};
struct MeanProbsLoss {
  View loss, c, v;     // (), (N), (N, E)
  View value;          // (N): the loss of each segment
  View p, expert;      // (T, E); i32 (T, K), for the Switch loss
  Segments segments;
  int64_t per_token;
  double threshold;    // of the global entropy
};
struct MeanProbsLossBwd {
  View dlogits, dy, c, v, p;
  Segments segments;
};
struct LoadLoss {
  View loss, c, g;     // (), (N), (N, E)
  View value;          // (N)
  View logits, noisy, expert;
  Segments segments;
  int64_t per_token;
  double sigma;
};
struct LoadLossBwd {
  View dlogits, dy, c, g, logits, noisy, expert;
  Segments segments;
  int64_t per_token;
  double sigma;
};
struct ZLoss {
  View loss, value;    // (), (N)
  View lse;            // (T)
  Segments segments;
};
struct ZLossBwd {
  View dlogits, dy, lse, p;
  Segments segments;
};
struct LocalEntropyLoss {
  View loss, entropy;  // (), (T)
  View value;          // (N)
  View logits, lse, p;
  Segments segments;
};
struct LocalEntropyLossBwd {
  View dlogits, dy, entropy, logits, lse, p;
  Segments segments;
};

PUMICE_DECLARE_KERNEL(importance_loss_fwd, MeanProbsLoss);
PUMICE_DECLARE_KERNEL(balance_loss_fwd, MeanProbsLoss);
PUMICE_DECLARE_KERNEL(global_entropy_loss_fwd, MeanProbsLoss);
PUMICE_DECLARE_KERNEL(mean_probs_loss_bwd, MeanProbsLossBwd);
PUMICE_DECLARE_KERNEL(load_loss_fwd, LoadLoss);
PUMICE_DECLARE_KERNEL(load_loss_bwd, LoadLossBwd);
PUMICE_DECLARE_KERNEL(z_loss_fwd, ZLoss);
PUMICE_DECLARE_KERNEL(z_loss_bwd, ZLossBwd);
PUMICE_DECLARE_KERNEL(local_entropy_loss_fwd, LocalEntropyLoss);
PUMICE_DECLARE_KERNEL(local_entropy_loss_bwd, LocalEntropyLossBwd);

}  // namespace pumice
