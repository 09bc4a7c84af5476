// The auxiliary loss of a sparse layer: a weight times the mean of the active losses. router_losses.h states each of them.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "pumice/moe/router_losses.h"

namespace pumice {

enum class AuxLoss { importance, load, z, balance, local_image, local_text, global_image, global_text };
const char* name(AuxLoss loss);  // "importance", ...

struct AuxOptions {
  double weight = 0.04;  // of the mean of the active losses
  std::vector<AuxLoss> losses = {AuxLoss::importance, AuxLoss::load, AuxLoss::z, AuxLoss::local_text, AuxLoss::global_text, AuxLoss::global_image};
  // How many experts each modality should use at least, in [1, E]. 0: min(20, 0.62 E) for images and min(9, 0.28 E) for text, which
  // are LIMoE's 20 and 9 of 32 experts, and at least 1.
  double soft_min_image = 0, soft_min_text = 0;
  LossScope scope = LossScope::group;
  // Entropies of the probabilities that chose, noise included, instead of the clean ones.
  bool noisy_entropies = false;

  std::vector<std::string> names() const;
  bool set_names(const std::string& comma_separated);  // false, and nothing changed, for an unknown name
};
// The soft minimum in force for E experts. Throws UsageError if one that was set is outside [1, E].
double soft_min_of(const AuxOptions& options, Modality modality, int64_t experts);

struct AuxLosses {
  Tensor total;  // () f32 or f64, with graph: weight times the mean of the active losses
  std::vector<std::pair<std::string, Tensor>> values;  // each active loss (), unweighted, no graph
};

// What auxiliary_losses() will ask of tensor_of(groups), made now.
void prepare_segments(const TokenGroups& groups, const AuxOptions& options);
// The load loss is active only where the routing had noise: at evaluation the mean is over the others.
AuxLosses auxiliary_losses(const Routing& routing, const AuxOptions& options);

}  // namespace pumice
