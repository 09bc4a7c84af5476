#include "pumice/moe/losses.h"

#include <algorithm>

#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr AuxLoss kAll[] = {AuxLoss::importance, AuxLoss::load, AuxLoss::z, AuxLoss::balance, AuxLoss::local_image, AuxLoss::local_text,
                            AuxLoss::global_image, AuxLoss::global_text};

// The routing as if its noisy logits were what the router had said. Noise is a constant: gradients pass to the logits unchanged.
Routing with_noise_taken_for_signal(const Routing& r) {
  Routing noisy = r;
  noisy.logits = r.noisy_logits.detach();
  noisy.logits.set_autograd(r.logits.autograd());
  noisy.lse = r.noisy_lse;
  noisy.clean_probs = r.probs.detach();
  return noisy;
}

Tensor evaluate(AuxLoss loss, const Routing& r, const AuxOptions& o) {
  const bool entropy = loss == AuxLoss::local_image || loss == AuxLoss::local_text || loss == AuxLoss::global_image || loss == AuxLoss::global_text;
  if (entropy && o.noisy_entropies && r.noise_std > 0) {
    AuxOptions clean = o;
    clean.noisy_entropies = false;
    return evaluate(loss, with_noise_taken_for_signal(r), clean);
  }
  switch (loss) {
    case AuxLoss::importance: return importance_loss(r, o.scope);
    case AuxLoss::load: return load_loss(r, o.scope);
    case AuxLoss::z: return z_loss(r, o.scope);
    case AuxLoss::balance: return balance_loss(r, o.scope);
    case AuxLoss::local_image: return local_entropy_loss(r, Modality::image, o.scope);
    case AuxLoss::local_text: return local_entropy_loss(r, Modality::text, o.scope);
    case AuxLoss::global_image: return global_entropy_loss(r, Modality::image, soft_min_of(o, Modality::image, r.experts()), o.scope);
    case AuxLoss::global_text: return global_entropy_loss(r, Modality::text, soft_min_of(o, Modality::text, r.experts()), o.scope);
  }
  return Tensor();
}

}  // namespace

const char* name(AuxLoss loss) {
  switch (loss) {
    case AuxLoss::importance: return "importance";
    case AuxLoss::load: return "load";
    case AuxLoss::z: return "z";
    case AuxLoss::balance: return "balance";
    case AuxLoss::local_image: return "local_image";
    case AuxLoss::local_text: return "local_text";
    case AuxLoss::global_image: return "global_image";
    case AuxLoss::global_text: return "global_text";
  }
  return "?";
}

std::vector<std::string> AuxOptions::names() const {
  std::vector<std::string> all;
  for (AuxLoss loss : losses) { all.push_back(name(loss)); }
  return all;
}

bool AuxOptions::set_names(const std::string& text) {
  std::vector<AuxLoss> chosen;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find(',', begin), text.size());
    auto found = std::find_if(std::begin(kAll), std::end(kAll), [&](AuxLoss l) { return text.compare(begin, end - begin, name(l)) == 0; });
    if (found == std::end(kAll)) { return false; }
    chosen.push_back(*found);
    begin = end + 1;
  }
  losses = chosen;
  return true;
}

double soft_min_of(const AuxOptions& o, Modality modality, int64_t experts) {
  const bool image = modality == Modality::image;
  const double set = image ? o.soft_min_image : o.soft_min_text, E = double(experts);
  const double fitting = std::max(1.0, image ? std::min(20.0, 0.62 * E) : std::min(9.0, 0.28 * E));
  REQUIRE(UsageError, set == 0 || (set >= 1 && set <= E), "[auxiliary_losses] ", image ? "soft_min_image" : "soft_min_text", " must be in [1, ",
          experts, "], the number of experts, got ", set, ": a modality cannot use more experts than there are; 0 chooses ", fitting);
  return set == 0 ? fitting : set;
}

void prepare_segments(const TokenGroups& groups, const AuxOptions& options) {
  for (AuxLoss loss : options.losses) {
    const bool image = loss == AuxLoss::local_image || loss == AuxLoss::global_image, text = loss == AuxLoss::local_text || loss == AuxLoss::global_text;
    const Modality modality = text ? Modality::text : Modality::image;
    prepare_segments(groups, options.scope, image || text ? &modality : nullptr);
  }
}

AuxLosses auxiliary_losses(const Routing& routing, const AuxOptions& options) {
  AuxLosses aux;
  Tensor sum;
  for (AuxLoss loss : options.losses) {
    if (loss == AuxLoss::load && routing.noise_std == 0) { continue; }
    Tensor value = evaluate(loss, routing, options);
    aux.values.emplace_back(name(loss), value.detach());
    sum = sum.defined() ? add(sum, value) : value;
  }
  aux.total = sum.defined() ? scale(sum, options.weight / double(aux.values.size())) : full({}, 0, routing.logits.dtype(), routing.logits.device());
  return aux;
}

}  // namespace pumice
