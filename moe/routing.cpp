#include "pumice/moe/routing.h"

#include "pumice/moe/router_noise.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

// One module draws up to three independent streams from its site.
enum class Stream : uint32_t { noise = 0, gumbel = 0x9E3779B9u, order = 0x85EBCA6Bu };
RandomKey key_of(uint32_t site, Stream stream) { return random_key(site ^ uint32_t(stream)); }

}  // namespace

Routing route(const Tensor& logits, const TokenGroups& groups, const RouterOptions& options, bool training, uint32_t site) {
  require_valid(options);
  double stddev = training ? options.noise_std / options.experts : 0;
  Tensor noise = stddev > 0 ? normal_noise(groups, options.experts, stddev, key_of(site, Stream::noise), logits.device()) : Tensor();
  return route_with_noise(logits, noise, stddev, groups, options, training, site);
}

std::vector<int64_t> capacities_of(const TokenGroups& groups, const RouterOptions& options, bool training) {
  std::vector<int64_t> capacity;
  for (int64_t g = 0; g < groups.count(); ++g) {
    capacity.push_back(capacity_of(groups.offsets[size_t(g) + 1] - groups.offsets[size_t(g)], options.experts, options.experts_per_token,
                                   training ? options.train : options.eval));
  }
  if (groups.padding) { capacity.back() = 0; }
  return capacity;
}

Routing route_with_noise(const Tensor& logits, const Tensor& noise, double noise_std, const TokenGroups& groups,
                         const RouterOptions& options, bool training, uint32_t site) {
  require_valid(options);
  require_valid(groups);
  REQUIRE(ShapeError, (logits.shape() == Shape{groups.tokens(), options.experts}), "[route] logits must be (T, E) = (", groups.tokens(), ", ",
          options.experts, "): one row per token of the groups, one column per expert; got ", logits.shape());
  REQUIRE(UsageError, noise.defined() == (noise_std > 0), "[route] noise and its standard deviation go together, got ",
          noise.defined() ? "noise" : "no noise", " and ", noise_std);
  bool sampled = options.second == SecondChoice::gumbel_always || (options.second == SecondChoice::gumbel && training);
  Tensor gumbel = sampled ? gumbel_noise(groups, options.experts, key_of(site, Stream::gumbel), logits.device()) : Tensor();
  Gating gating = gate_tokens(logits, noise, gumbel, options.experts_per_token);

  Routing r{.groups = groups, .noise_std = noise_std, .logits = logits, .noisy_logits = gating.noisy, .lse = gating.lse,
            .noisy_lse = gating.noisy_lse, .clean_probs = gating.clean, .probs = gating.probs, .expert = gating.expert};
  r.capacity = capacities_of(groups, options, training);
  Assignment a = assign_slots(gating.expert, gating.gate, groups, options.experts, r.capacity, options.order, key_of(site, Stream::order));
  r.slot = a.slot;
  r.row = a.row;
  r.token_of_row = a.token_of_row;
  r.expert_offsets = a.expert_offsets;
  r.gate = options.gates == Gates::raw ? gating.gate : renormalise_kept(gating.gate, a.row);
  return r;
}

}  // namespace pumice
