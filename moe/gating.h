#pragma once
#include "pumice/moe/policy.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

// Softmax of the router's logits and the choice of K experts per token, in one pass over a row.
struct Gating {
  Tensor noisy;   // (T, E)  logits + noise, without a graph
  Tensor clean;   // (T, E)  softmax(logits), without a graph
  Tensor lse, noisy_lse;  // (T)  log(sum_E(exp(logits))), and of noisy, without a graph
  Tensor probs;   // (T, E)  softmax(noisy), with the graph
  Tensor expert;  // (T, K)  i32, best first
  Tensor gate;    // (T, K)  probs of the chosen experts, with the graph; not renormalised
};

//   logits (T, E) f32 or f64    noise, gumbel f32 (T, E), or undefined
// The K largest probabilities are chosen, ties to the lower expert. With `gumbel` (K = 2) the second choice is instead
// argmax(noisy + gumbel) over the other experts. No gradient passes through a choice. Softmax stands before top-k, so that one
// choice alone still teaches the router (V-MoE, arXiv:2106.05974, section 2). Throws ShapeError, DTypeError, UsageError.
Gating gate_tokens(const Tensor& logits, const Tensor& noise, const Tensor& gumbel, int experts_per_token);

// gate over the sum of the token's kept gates, 0 for dropped choices.   gate (T, K)   row i32 (T, K), -1: dropped   ->   (T, K)
Tensor renormalise_kept(const Tensor& gate, const Tensor& row);

}  // namespace pumice
