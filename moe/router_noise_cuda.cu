// The router's noise on CUDA: the same random words as on the CPU, a Philox block of four numbers per thread. Traffic: 4 bytes written per number.
#include "pumice/moe/router_noise_kernels.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;

// Uniform in (0, 1), both ends excluded.
__device__ __forceinline__ float open_unit(uint32_t bits) { return (float(bits >> 9) + 0.5f) * 0x1p-23f; }

struct Normal {  // Box, Muller 1958
  float stddev;
  __device__ __forceinline__ void operator()(const Random4& r, float (&four)[4]) const {
    SIMT_UNROLL
    for (int pair = 0; pair < 4; pair += 2) {
      const float radius = stddev * sqrtf(-2.0f * logf(open_unit(r.v[pair]))), angle = 6.28318530718f * to_unit(r.v[pair + 1]);
      four[pair] = radius * cosf(angle);
      four[pair + 1] = radius * sinf(angle);
    }
  }
};
struct Gumbel {
  __device__ __forceinline__ void operator()(const Random4& r, float (&four)[4]) const {
    SIMT_UNROLL
    for (int i = 0; i < 4; ++i) { four[i] = -logf(-logf(open_unit(r.v[i]))); }
  }
};

// `pieces` blocks per group. Every token has ceil(E / 4) Philox blocks of its own, numbered from the start of its group.
template <class F> __global__ void __launch_bounds__(kBlock)
noise_of_groups(float* noise, const int64_t* offsets, int64_t E, int64_t first_group, int64_t pieces, RandomKey key_of_launch, F numbers) {
  const RandomKey key = with_step(key_of_launch);
  const int64_t g = blockIdx.x / pieces, piece = blockIdx.x % pieces, begin = offsets[g], blocks = (E + 3) / 4;
  const uint64_t stream = uint64_t(first_group + g) << 30;
  for (int64_t i = piece * kBlock + threadIdx.x; i < (offsets[g + 1] - begin) * blocks; i += pieces * kBlock) {
    const int64_t at = (begin + i / blocks) * E, e = i % blocks * 4;
    simt::Vector<float, 4> four;
    numbers(random4(key, stream + uint64_t(i)), four.v);
    if (E % 4 == 0) {
      simt::store_vector(noise + at + e, four);
    } else {
      for (int j = 0; j < 4 && e + j < E; ++j) { noise[at + e + j] = four.v[j]; }
    }
  }
}

template <class F> void launch_noise(const RouterNoise& a, F numbers) {
  const int64_t work = a.noise.shape[0] * ((a.experts + 3) / 4);
  if (!work) { return; }
  const int64_t pieces = simt::blocks_for(work / a.groups, kBlock, 1024);
  simt::launch<noise_of_groups<F>>({.grid = unsigned(a.groups * pieces), .block = kBlock}, a.noise.as<float>(), a.offsets.as<int64_t>(), a.experts,
                                   a.first_group, pieces, a.key, numbers);
}

}  // namespace

void router_normal_noise(const RouterNoise& a) { launch_noise(a, Normal{float(a.stddev)}); }
void router_gumbel_noise(const RouterNoise& a) { launch_noise(a, Gumbel{}); }

}  // namespace pumice::cuda
