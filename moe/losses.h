// Auxiliary losses of a router, as functions of its Routing. Every gradient is a closed form in the clean logits (no square root
// anywhere, so perfect balance has a gradient of zero and not NaN).
//
//   importance   (std(I) / mean(I))^2, I_e = sum_i p_ie                                  Shazeer et al. 2017, arXiv:1701.06538
//   load         (std(L) / mean(L))^2, L_e = mean_i 1 - Phi((t_i - z_ie) / sigma)        same; t_i the K-th largest noisy logit (V-MoE)
//   z            mean_i (log-sum-exp_e z_ie)^2                                           Zoph et al. 2022, arXiv:2202.08906
//   balance      E sum_e f_e P_e, f_e the share of tokens whose best expert is e         Fedus et al. 2022, arXiv:2101.03961
//   local_M      mean_i H(p_i) over the tokens of modality M: each choice decided        LIMoE: Mustafa et al. 2022, arXiv:2206.02770
//   global_M     max(0, tau - H(mean_i p_i)): the choices of M spread over at least exp(tau) experts       same
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "pumice/moe/routing.h"

namespace pumice {

enum class AuxLoss { importance, load, z, balance, local_image, local_text, global_image, global_text };
const char* name(AuxLoss loss);  // "importance", ...

struct AuxOptions {
  double weight = 0.04;  // of the mean of the active losses
  std::vector<AuxLoss> losses = {AuxLoss::importance, AuxLoss::load, AuxLoss::z, AuxLoss::local_text, AuxLoss::global_text, AuxLoss::global_image};
  // exp(tau): the fewest experts, spread evenly, that satisfy the global entropy loss. 0 = min(20, 0.62 E) for images and
  // min(9, 0.28 E) for text: the paper's 20 and 9 of 32 experts, scaled to E.
  double soft_min_image = 0, soft_min_text = 0;

  std::vector<std::string> names() const;
  bool set_names(const std::string& comma_separated);  // false, and nothing changed, for an unknown name
};

struct AuxLosses {
  Tensor total;  // () f32 or f64, with graph: weight times the mean of the active losses
  std::vector<std::pair<std::string, double>> values;  // each active loss, unweighted, mean over groups
};

// Each loss is taken per group and averaged over the groups that have such tokens. `load` is active only when noise was drawn.
AuxLosses auxiliary_losses(const Routing& routing, const AuxOptions& options);

}  // namespace pumice
