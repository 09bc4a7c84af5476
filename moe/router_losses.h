// Auxiliary losses of a router: functions of its Routing, each with a closed-form gradient in the logits. There is no square root and
// no division by a spread, so balance and a zero router give finite gradients. Values are f32 scalars (f64 for f64 logits).
//
// auxiliary_losses() in losses.h makes one loss of them. Each is computed over the tokens of each group, or over all tokens at once,
// and averaged over the groups that have tokens of its modality. A loss without any such token is 0.
// Letters: n tokens of the group, p = softmax(logits), sums over its tokens i.
#pragma once
#include "pumice/moe/routing.h"

namespace pumice {

enum class LossScope { group, global };

// Importance (Shazeer et al. 2017, arXiv:1701.06538, eq. 6-7):   I_e = sum_i(p_ie)     var(I) / mean(I)^2     population variance
//   dlogits_ij = 2E/n^2 * p_ij * (I_j - sum_k(p_ik I_k))
Tensor importance_loss(const Routing& routing, LossScope scope = LossScope::group);

// Load (Shazeer et al. 2017, appendix A, with V-MoE's threshold):   q_ie = 1 - Phi((t_i - logit_ie) / sigma), t_i the noisy logit of
// the K-th choice, sigma the noise's standard deviation;   L_e = mean_i(q_ie)     v / m^2 with v = var(L), m = mean(L)
//   g_e = 2 (L_e - m) / (E m^2) - 2 v / (E m^3), a_ie = (t_i - logit_ie) / sigma, phi the normal density, k* the K-th choice:
//   dlogits_ij = 1 / (n sigma) * (phi(a_ij) g_j - [j = k*_i] sum_e(phi(a_ie) g_e))
// Defined only where the routing had noise; throws UsageError otherwise.
Tensor load_loss(const Routing& routing, LossScope scope = LossScope::group);

// Router z-loss (Zoph et al. 2022, arXiv:2202.08906, eq. 5):   mean_i(lse_i^2)        dlogits_ij = 2/n * lse_i * p_ij
Tensor z_loss(const Routing& routing, LossScope scope = LossScope::group);

// Switch / GShard balance (Fedus et al. 2021, arXiv:2101.03961, eq. 4):   E * sum_e(f_e P_e), f_e the fraction of tokens whose first
// choice is e, P_e = mean_i(p_ie) of the probabilities that chose (noisy while training). 1 when balanced, E at collapse.
//   dlogits_ij = E/n * p_ij * (f_j - sum_k(p_ik f_k))
Tensor balance_loss(const Routing& routing, LossScope scope = LossScope::group);

// LIMoE's entropy losses (Mustafa et al. 2022, arXiv:2206.02770), over the tokens of one modality, natural logarithms.
//   local:   mean_i(H(p_i))                        small when every token is sure
//   dlogits_ij = -1/n * p_ij * (ln p_ij + H_i)
Tensor local_entropy_loss(const Routing& routing, Modality modality, LossScope scope = LossScope::group);
//   global:  max(0, ln(soft_min) - H(mean_i(p_i)))    0 once the modality spreads over soft_min experts or more
//   dlogits_ij = 1/n * p_ij * (ln P_j - sum_k(p_ik ln P_k)), P = mean_i(p_i); 0 beyond the threshold
// soft_min must be in [1, E]; throws UsageError. E asks for uniform use: the loss without a threshold, shifted to be >= 0.
Tensor global_entropy_loss(const Routing& routing, Modality modality, double soft_min, LossScope scope = LossScope::group);

// The tensors of `groups` that a loss over its tokens (null: all; else those of one modality) asks of tensor_of(), made now.
void prepare_segments(const TokenGroups& groups, LossScope scope, const Modality* modality);

}  // namespace pumice
