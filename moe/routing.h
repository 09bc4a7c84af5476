// What a router decides for every token, as one value that dispatch, losses and statistics read.
#pragma once
#include <vector>

#include "pumice/moe/groups.h"
#include "pumice/moe/policy.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

struct Routing {
  Tensor logits;          // (T, E) f32 or f64, with graph: clean
  Tensor probs;           // (T, E), with graph: softmax of the logits that decided, noise included
  Tensor clean_probs;     // (T, E), no graph
  Tensor noisy_logits;    // (T, E), no graph: what decided; the clean logits without noise
  double noise_std = 0;   // deviation of the noise that was drawn, already divided by E; 0 without
  Tensor expert;          // i32 (T, K): chosen experts, best first
  Tensor gate;            // (T, K), with graph: what each choice's output is multiplied with
  Tensor slot;            // i32 (T, K): place in the expert's buffer of the token's group, or -1 when dropped
  Tensor row;             // i32 (T, K): row among the dispatched tokens, or -1 when dropped
  Tensor token_of_row;    // i32 (R): dispatched rows, sorted by expert, then group, then slot
  Tensor expert_offsets;  // i32 (E + 1): rows of each expert
  std::vector<int64_t> capacity;  // (G): places per expert
  TokenGroups groups;

  int64_t experts() const { return logits.dim(1); }
  int64_t experts_per_token() const { return expert.dim(1); }
};

// logits (T, E), f32 or f64 -> Routing. While `training`, noise is added (V-MoE: Riquelme et al. 2021, arXiv:2106.05974) from the
// random stream of `site`, indexed by the group's place in the whole batch, so that splitting a batch at group borders changes no
// number. Per group: top K by probability, the lower expert first among equals; claims in the policy's order, all first choices
// before all second ones; a claim beyond the capacity is dropped and still counts. Throws ShapeError, DTypeError, UsageError.
Routing route(const Tensor& logits, const TokenGroups& groups, const RouterOptions& options, bool training, uint32_t site);

}  // namespace pumice
