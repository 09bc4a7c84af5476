// A sparse MLP: a router sends each token to K of E experts, each an MLP of its own.
#pragma once
#include "pumice/moe/groups.h"
#include "pumice/moe/policy.h"
#include "pumice/moe/routing.h"
#include "pumice/nn/layers.h"

namespace pumice {

struct MoeMlp {
  Parameter* router = nullptr;                  // (E, C), f32 whatever the compute dtype
  Parameter* gate = nullptr;                    // (E, F, C); null where experts are not gated
  Parameter *up = nullptr, *up_bias = nullptr;  // (E, F, C), (E, F)
  Parameter *down = nullptr, *down_bias = nullptr;  // (E, C, F), (E, C); biases are null in gated experts
  RouterOptions options;
  Gelu activation = Gelu::tanh;
  uint32_t site = 0;                            // of the router's random numbers

  MoeMlp() = default;
  // What an expert computes: down(gelu(up(x))) with biases, or down(silu(gate(x)) up(x)) without.
  enum class Expert { gelu, swiglu };
  // Experts start as copies of one draw, as in V-MoE; routing breaks the symmetry. `independent` draws each.
  MoeMlp(const Scope& scope, int64_t width, int64_t hidden, const RouterOptions& options, bool independent_experts = false,
         Expert expert = Expert::gelu);

  // x (T, C) -> (T, C): zero for tokens that every chosen expert dropped. `routing` receives what was decided.
  Tensor operator()(const Tensor& x, const TokenGroups& groups, bool training, Routing& routing) const;
};

}  // namespace pumice
