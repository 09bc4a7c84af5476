// What a router did, in numbers that show whether it works: collected per modality, mergeable over microbatches.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "pumice/moe/routing.h"

namespace pumice {

// Sums over some tokens; the ratios are computed when read. An empty modality reads as NaN.
struct ModalityStats {
  int64_t tokens = 0, choices = 0, kept = 0;
  std::vector<double> first_choices;  // (E): tokens whose best expert is e
  std::vector<double> probability;    // (E): sum of clean probabilities
  double entropy = 0, gate = 0, max_gate = 0;  // sums of H(p_i) and of the best gate, and the largest gate

  double success_rate() const;       // kept choices over all choices
  double local_entropy() const;      // mean over tokens, in nats
  double global_entropy() const;     // of the mean distribution
  double effective_experts() const;  // exp of it
  double mean_gate() const;
  double share(int64_t expert) const;  // of tokens whose best expert it is
};

class RoutingStats {
 public:
  const ModalityStats& image() const { return parts_[0]; }
  const ModalityStats& text() const { return parts_[1]; }
  ModalityStats all() const;
  double importance_cv2() const;  // squared coefficient of variation of summed probabilities over experts
  double load_cv2() const;        // the same of tokens per expert
  double max_logit() const { return max_logit_; }  // largest magnitude
  double mean_lse() const;        // of the tokens' log(sum_E(exp(logits))), which the z-loss holds near 0
  void merge(const RoutingStats& other);
  // Flat names and values for metrics: "image/success_rate", "text/expert3", ...
  std::vector<std::pair<std::string, double>> values() const;

 private:
  friend RoutingStats collect_stats(const Routing& routing);
  ModalityStats parts_[2];
  double max_logit_ = 0, lse_ = 0;  // lse_: the sum over tokens
};

RoutingStats collect_stats(const Routing& routing);

}  // namespace pumice
