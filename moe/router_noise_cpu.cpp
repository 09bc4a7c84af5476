// CPU kernels of the router's noise: every token has ceil(E / 4) Philox blocks of its own, numbered from the start of its group.
#include "pumice/moe/router_noise_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/philox_lanes.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int64_t kWords = 4 * kPhiloxLanes;

// f(kWords words, kWords numbers), for the blocks of four experts of all tokens.
template <class F> PUMICE_INLINE void for_each_words(const RouterNoise& a, const F& f) {
  const int64_t E = a.experts, blocks = (E + 3) / 4;
  const int64_t* offsets = a.offsets.as<int64_t>();
  for (int64_t g = 0; g < a.groups; ++g) {
    const uint64_t stream = uint64_t(a.first_group + g) << 30;
    float* noise = a.noise.as<float>() + offsets[g] * E;
    parallel_for(offsets[g + 1] - offsets[g], grain_for(32 * E), [&](int64_t begin, int64_t end) {
      uint32_t words[kWords];
      float numbers[kWords];
      for (int64_t block = begin * blocks; block < end * blocks; block += kPhiloxLanes) {
        random_words(a.key, stream + uint64_t(block), words);
        f(words, numbers);
        if (E % 4 == 0) {  // no block holds more than it gives
          const int64_t left = end * blocks - block;
          std::memcpy(noise + 4 * block, numbers, size_t(4 * (left < kPhiloxLanes ? left : kPhiloxLanes)) * sizeof(float));
          continue;
        }
        for (int64_t b = block; b < end * blocks && b < block + kPhiloxLanes; ++b) {
          const int64_t token = b / blocks, first = b % blocks * 4;
          for (int64_t e = first; e < E && e < first + 4; ++e) { noise[token * E + e] = numbers[4 * (b - block) + e - first]; }
        }
      }
    });
  }
}

// Uniform in (0, 1), both ends excluded.
PUMICE_INLINE float open_unit(uint32_t bits) { return (float(bits >> 9) + 0.5f) * 0x1p-23f; }

}  // namespace

void router_normal_noise(const RouterNoise& a) {
  const float stddev = float(a.stddev);
  for_each_words(a, [=](const uint32_t* words, float* numbers) {
    for (int64_t i = 0; i < kWords; i += 2) {  // Box, Muller 1958
      const float radius = stddev * sqrt_of(-2.0f * log_of(open_unit(words[i])));
      float sin, cos;
      sin_cos_of_turns(to_unit(words[i + 1]), sin, cos);
      numbers[i] = radius * cos;
      numbers[i + 1] = radius * sin;
    }
  });
}

void router_gumbel_noise(const RouterNoise& a) {
  for_each_words(a, [](const uint32_t* words, float* numbers) {
    for (int64_t i = 0; i < kWords; ++i) { numbers[i] = -log_of(-log_of(open_unit(words[i]))); }
  });
}

}  // namespace pumice::PUMICE_ISA
