#include "pumice/moe/router_noise.h"

#include "pumice/autograd/autograd.h"
#include "pumice/moe/router_noise_kernels.h"
#include "pumice/tensor/error.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(router_normal_noise, RouterNoise);
PUMICE_DEFINE_KERNEL(router_gumbel_noise, RouterNoise);

namespace {

Tensor draw(const char* op, const Kernel<RouterNoise>& kernel, const TokenGroups& groups, int experts, double stddev, RandomKey key,
            Device device) {
  require_valid(groups);
  REQUIRE(ShapeError, groups.tokens() * ((experts + 3) / 4) < int64_t(1) << 30, "[", op, "] ", groups.tokens(), " tokens and ", experts,
          " experts need more random numbers than one stream of 2^32 holds: route fewer tokens at once");
  key.microbatch = 0;
  Tensor noise = empty({groups.tokens(), experts}, DType::f32, device), offsets = offsets_tensor(groups, device);
  kernel(device, {noise, offsets, groups.count(), experts, groups.first_group, stddev, key});
  return record_no_grad(op, noise);
}

}  // namespace

Tensor normal_noise(const TokenGroups& groups, int experts, double stddev, const RandomKey& key, Device device) {
  return draw("router_normal_noise", router_normal_noise, groups, experts, stddev, key, device);
}

Tensor gumbel_noise(const TokenGroups& groups, int experts, const RandomKey& key, Device device) {
  return draw("router_gumbel_noise", router_gumbel_noise, groups, experts, 1, key, device);
}

}  // namespace pumice
