#pragma once
#include "pumice/moe/groups.h"
#include "pumice/tensor/philox.h"

namespace pumice {

// Random numbers per token and expert, f32 (T, E). A number depends on the key's seed, step and site, on the token's group in the
// whole batch and on its place in that group: not on the microbatch, so splitting a batch between groups changes nothing.
//   normal_noise: N(0, stddev^2)        gumbel_noise: -ln(-ln(u)), u uniform in (0, 1)
Tensor normal_noise(const TokenGroups& groups, int experts, double stddev, const RandomKey& key, Device device = Device::cpu());
Tensor gumbel_noise(const TokenGroups& groups, int experts, const RandomKey& key, Device device = Device::cpu());

}  // namespace pumice
