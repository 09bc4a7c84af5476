// Routing: everything that one routing of T tokens decided. Dispatch, losses and statistics read it; nothing writes to it.
//
//   Routing r = route(logits, groups, options, training, site);
//   Tensor y = combine(experts(dispatch(x, r)), r);     // experts: rows expert_offsets[e] .. belong to expert e
#pragma once
#include <vector>

#include "pumice/moe/assignment.h"
#include "pumice/moe/gating.h"
#include "pumice/moe/groups.h"
#include "pumice/moe/policy.h"

namespace pumice {

struct Routing {
  TokenGroups groups;
  std::vector<int64_t> capacity;  // (G)  places per expert
  double noise_std = 0;           // standard deviation of the noise on the logits, already divided by E; 0: there is none

  Tensor logits;        // (T, E) f32 (f64)  with graph, clean
  Tensor noisy_logits;  // (T, E)            logits + noise, no graph
  Tensor lse;           // (T)               log(sum_E(exp(logits))), no graph
  Tensor noisy_lse;     // (T)               the same of noisy_logits
  Tensor clean_probs;   // (T, E)            softmax(logits), no graph
  Tensor probs;         // (T, E)            softmax(noisy_logits), with graph: what chose the experts

  Tensor expert;        // (T, K) i32        best first
  Tensor gate;          // (T, K)            with graph; what the expert's output is multiplied with
  Tensor slot, row, token_of_row, expert_offsets;  // see Assignment

  int64_t tokens() const { return expert.dim(0); }
  int64_t experts() const { return expert_offsets.dim(0) - 1; }
  int64_t experts_per_token() const { return expert.dim(1); }
  int64_t rows() const { return token_of_row.dim(0); }
};

// Routes as options say. Noise, Gumbel choices and random orders are drawn from random_key(site), with element numbers made of the
// token's group in the whole batch and its place in that group.
//   logits (T, E) f32, or f64 to check gradients; T = groups.tokens()
// Throws ShapeError, DTypeError, UsageError.
Routing route(const Tensor& logits, const TokenGroups& groups, const RouterOptions& options, bool training, uint32_t site);
// The same with the noise given: f32 (T, E) drawn from N(0, noise_std^2), or undefined with noise_std = 0.
Routing route_with_noise(const Tensor& logits, const Tensor& noise, double noise_std, const TokenGroups& groups,
                         const RouterOptions& options, bool training, uint32_t site);
// Places per expert of each group.
std::vector<int64_t> capacities_of(const TokenGroups& groups, const RouterOptions& options, bool training);

}  // namespace pumice
