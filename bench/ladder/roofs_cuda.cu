// What a device reaches when nothing holds it up: the roofs that times are held against.
#include "ladder.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::ladder {
namespace {

__global__ void __launch_bounds__(256) copy(uint4* to, const uint4* from, int64_t n) {
  for (int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x; i < n; i += int64_t(gridDim.x) * 256) { to[i] = from[i]; }
}

// Eight chains of multiply-adds per thread, which never leave their registers.
constexpr int kChains = 8;
__global__ void __launch_bounds__(256) multiply_adds(float* sums, int rounds, float factor, float term) {
  float sum[kChains];
  for (int c = 0; c < kChains; ++c) { sum[c] = float(threadIdx.x + c); }
  for (int i = 0; i < rounds; ++i) {
    SIMT_UNROLL
    for (int c = 0; c < kChains; ++c) { sum[c] = sum[c] * factor + term; }
  }
  float all = 0;
  for (int c = 0; c < kChains; ++c) { all += sum[c]; }
  sums[blockIdx.x * 256 + threadIdx.x] = all;
}

// The same of mma.sync: four chains per warp. Hopper's wgmma does more; kernels that run on every card since Ampere cannot.
constexpr int kMmaChains = 4;
__global__ void __launch_bounds__(256) matrix_multiply_adds(float* sums, int rounds) {
  const uint32_t one = 0x3f803f80u;  // two bf16 ones
  float sum[kMmaChains][4] = {};
  const uint32_t a[4] = {one, one, one, one}, b[2] = {one, one + threadIdx.x};
  for (int i = 0; i < rounds; ++i) {
    SIMT_UNROLL
    for (int c = 0; c < kMmaChains; ++c) { simt::mma_bf16_16816(sum[c], a, b); }
  }
  float all = 0;
  for (int c = 0; c < kMmaChains; ++c) { all += sum[c][0] + sum[c][1] + sum[c][2] + sum[c][3]; }
  sums[blockIdx.x * 256 + threadIdx.x] = all;
}

}  // namespace

Roofs measure_roofs(bool large) {
  const int64_t bytes = large ? int64_t(512) << 20 : 1 << 16;
  const unsigned blocks = large ? 2048 : 2;
  const int rounds = large ? 4096 : 8;
  const Tensor from = zeros({bytes}, DType::u8, Device::cuda()), to = empty({bytes}, DType::u8, Device::cuda());
  const Tensor sums = empty({int64_t(blocks) * 256}, DType::f32, Device::cuda());
  const double copied = seconds_of([&] {
    simt::launch<copy>({.grid = simt::blocks_for(bytes / 16, 256, 1 << 16), .block = 256}, static_cast<uint4*>(to.raw()), static_cast<const uint4*>(from.raw()),
                       bytes / 16);
  });
  const double f32 = seconds_of([&] { simt::launch<multiply_adds>({.grid = blocks, .block = 256}, sums.data<float>(), rounds, 0.999f, 0.001f); });
  const double bf16 = seconds_of([&] { simt::launch<matrix_multiply_adds>({.grid = blocks, .block = 256}, sums.data<float>(), rounds); });
  return {.copy = 2.0 * double(bytes) / copied, .multiply_f32 = 2.0 * kChains * rounds * 256.0 * blocks / f32,
          .multiply_bf16 = 2.0 * 16 * 16 * 8 * kMmaChains * rounds * 8.0 * blocks / bf16};
}

}  // namespace pumice::ladder
