#pragma once
#include "pumice/tensor/kernel.h"
#include "pumice/tensor/philox.h"

namespace pumice {

struct RouterNoise {
  View noise;    // (T, E) f32
  View offsets;  // i64 (G + 1)
  int64_t groups, experts, first_group;
  double stddev; // of normal noise; Gumbel noise ignores it
  RandomKey key; // microbatch 0
};

PUMICE_DECLARE_KERNEL(router_normal_noise, RouterNoise);
PUMICE_DECLARE_KERNEL(router_gumbel_noise, RouterNoise);

}  // namespace pumice
