// CPU kernels of the router's noise: every token has ceil(E / 4) Philox blocks of its own, numbered from the start of its group.
#include "pumice/moe/router_noise_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {
namespace {

// f(four words) -> four numbers, for each block of four experts of each token.
template <class F> PUMICE_INLINE void for_each_block(const RouterNoise& a, const F& f) {
  const int64_t E = a.experts, blocks = (E + 3) / 4;
  const int64_t* offsets = a.offsets.as<int64_t>();
  for (int64_t g = 0; g < a.groups; ++g) {
    const uint64_t stream = uint64_t(a.first_group + g) << 30;
    float* noise = a.noise.as<float>() + offsets[g] * E;
    parallel_for(offsets[g + 1] - offsets[g], grain_for(32 * E), [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        for (int64_t b = 0; b < blocks; ++b) {
          float four[4];
          f(random4(a.key, stream + uint64_t(s * blocks + b)), four);
          for (int64_t e = 4 * b; e < E && e < 4 * b + 4; ++e) { noise[s * E + e] = four[e - 4 * b]; }
        }
      }
    });
  }
}

// Uniform in (0, 1), both ends excluded.
PUMICE_INLINE float open_unit(uint32_t bits) { return (float(bits >> 9) + 0.5f) * 0x1p-23f; }

}  // namespace

void router_normal_noise(const RouterNoise& a) {
  for_each_block(a, [&](const Random4& r, float* four) {
    for (int pair = 0; pair < 4; pair += 2) {  // Box, Muller 1958
      float radius = float(a.stddev) * sqrt_of(-2.0f * log_of(open_unit(r.v[pair])));
      float angle = 6.28318530718f * to_unit(r.v[pair + 1]);
      four[pair] = radius * __builtin_cosf(angle);
      four[pair + 1] = radius * __builtin_sinf(angle);
    }
  });
}

void router_gumbel_noise(const RouterNoise& a) {
  for_each_block(a, [&](const Random4& r, float* four) {
    for (int i = 0; i < 4; ++i) { four[i] = -log_of(-log_of(open_unit(r.v[i]))); }
  });
}

}  // namespace pumice::PUMICE_ISA
