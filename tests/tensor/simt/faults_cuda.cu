// Kernels with one planted fault each, and right ones beside them. Launched by faults_test.cpp.
#include "faults.h"

#include "pumice/tensor/simt/simt.h"

namespace pumice::testing {
namespace {

__global__ void divergent_barrier(float* y) {
  if (threadIdx.x < 100) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = 1;
}
__global__ void early_return(float* y, int n) {
  if (int(threadIdx.x) >= n) { return; }
  __syncthreads();
  y[threadIdx.x] = 1;
}
__global__ void half_shuffle(float* y) {
  float v = float(threadIdx.x);
  if (threadIdx.x & 1) { v = __shfl_xor_sync(0xffffffffu, v, 2); }
  y[threadIdx.x] = v;
}
__global__ void partial_warp(float* y) { y[threadIdx.x] = simt::warp_reduce(1.0f, simt::Sum{}); }
__global__ void write_to(float* y, int at) { y[at + threadIdx.x] = 1; }
__global__ void read_from(float* y, const float* x, int at) { y[threadIdx.x] = x[at + threadIdx.x]; }
__global__ void shared_overrun(float* y, int shift) {
  SIMT_SHARED(float, tile, [32]);
  float* p = tile;
  p[threadIdx.x + shift] = 1;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x];
}
__global__ void dynamic_overrun(float* y, int shift) {
  SIMT_DYN_SHARED(float, tile);
  tile[threadIdx.x + shift] = 1;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x];
}
__global__ void uninitialised_shared(float* y) {
  SIMT_SHARED(float, tile, [64]);
  tile[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = tile[threadIdx.x * 2];
}
template <bool Barrier> __global__ void broadcast(float* y) {
  SIMT_SHARED(float, value, [1]);
  if (threadIdx.x == 0) { value[0] = 3; }
  if (Barrier) { __syncthreads(); }
  y[threadIdx.x] = value[0];
}
template <bool Barrier> __global__ void reverse_in_warp(float* y) {
  SIMT_SHARED(float, tile, [32]);
  tile[threadIdx.x] = float(threadIdx.x);
  if (Barrier) { __syncwarp(); }
  y[threadIdx.x] = tile[31 - threadIdx.x];
}
// Writes again before the readers of the last round are done, unless there is a second barrier.
template <bool Barrier> __global__ void rotate(float* y, int rounds) {
  SIMT_SHARED(float, tile, [64]);
  float v = float(threadIdx.x);
  for (int r = 0; r < rounds; ++r) {
    tile[threadIdx.x] = v;
    __syncthreads();
    v = tile[(threadIdx.x + 1) % 64];
    if (Barrier) { __syncthreads(); }
  }
  y[threadIdx.x] = v;
}
__global__ void sum_without_atomic(float* y) { y[0] += 1; }
__global__ void sum_with_atomic(float* y) { atomicAdd(&y[0], 1.0f); }
template <int Keep> __global__ void copy_async(float* y, const float* x) {
  SIMT_SHARED(float, tile, [128]);
  simt::cp_async16(&tile[threadIdx.x * 4], x + threadIdx.x * 4);
  simt::cp_async_commit();
  simt::cp_async_wait<Keep>();
  __syncthreads();
  for (int i = 0; i < 4; ++i) { y[threadIdx.x * 4 + i] = tile[(threadIdx.x * 4 + i + 4) % 128]; }
}
__global__ void misaligned_copy(float* y, const float* x) {
  SIMT_SHARED(float, tile, [128]);
  simt::cp_async16(&tile[0], x + 1);
  simt::cp_async_commit();
  simt::cp_async_wait<0>();
  y[threadIdx.x] = tile[0];
}
__global__ void misaligned_vector(float* y, const float* x) {
  reinterpret_cast<float4*>(y)[threadIdx.x] = *reinterpret_cast<const float4*>(x + 1 + 4 * threadIdx.x);
}
// C (16 x 8) = A (16 x 16) B (16 x 8), A row-major and B given as its transpose (8 x 16): what a warp of a tiled product does.
__global__ void one_mma(float* c, const bf16* a, const bf16* bt) {
  SIMT_SHARED(bf16, sa, [16][16]);
  SIMT_SHARED(bf16, sb, [16][16]);
  const int lane = threadIdx.x;
  for (int i = lane; i < 256; i += 32) { sa[i / 16][i % 16] = a[i]; }
  for (int i = lane; i < 256; i += 32) { sb[i / 16][i % 16] = i < 128 ? bt[i] : bf16(0.0f); }
  __syncwarp();
  uint32_t fa[4], fb[4];
  simt::ldmatrix_x4(fa, &sa[lane & 15][(lane >> 4) * 8]);
  simt::ldmatrix_x4(fb, &sb[(lane >> 4) * 8 + (lane & 7)][((lane >> 3) & 1) * 8]);
  const uint32_t first[2] = {fb[0], fb[1]};
  float d[4] = {};
  simt::mma_bf16_16816(d, fa, first);
  for (int i = 0; i < 4; ++i) { c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i]; }
}
__global__ void helpers(float* y, int* scan, const float* x, int n) {
  const int i = int(threadIdx.x);
  y[i] = simt::block_reduce(i < n ? x[i] : 0.0f, simt::Sum{}, 0.0f);
  int total;
  scan[i] = simt::block_exclusive_scan(i % 3, total);
  scan[blockDim.x + i] = total;
}

}  // namespace

void launch_fault(const std::string& name, float* y, const float* x, int* scan, const bf16* a, const bf16* b) {
  using simt::launch;
  if (name == "divergent_barrier") { launch<divergent_barrier>({.block = 256}, y); }
  else if (name == "early_return") { launch<early_return>({.block = 256}, y, 200); }
  else if (name == "half_shuffle") { launch<half_shuffle>({.block = 64}, y); }
  else if (name == "partial_warp") { launch<partial_warp>({.block = 48}, y); }
  else if (name == "write_out_of_bounds") { launch<write_to>({.block = 128}, y, 256 - 127); }
  else if (name == "read_out_of_bounds") { launch<read_from>({.block = 128}, y, x, 128 - 127); }
  else if (name == "uninitialised_global") { launch<read_from>({.block = 32}, y, y, 64); }
  else if (name == "shared_overrun") { launch<shared_overrun>({.block = 32}, y, 1); }
  else if (name == "dynamic_overrun") { launch<dynamic_overrun>({.block = 32, .smem = 128}, y, 1); }
  else if (name == "uninitialised_shared") { launch<uninitialised_shared>({.block = 32}, y); }
  else if (name == "no_barrier") { launch<broadcast<false>>({.block = 64}, y); }
  else if (name == "no_syncwarp") { launch<reverse_in_warp<false>>({.block = 32}, y); }
  else if (name == "no_second_barrier") { launch<rotate<false>>({.block = 64}, y, 3); }
  else if (name == "sum_without_atomic") { launch<sum_without_atomic>({.grid = 64, .block = 1}, y); }
  else if (name == "wrong_wait") { launch<copy_async<1>>({.block = 32}, y, x); }
  else if (name == "misaligned_copy") { launch<misaligned_copy>({.block = 32}, y, x); }
  else if (name == "misaligned_vector") { launch<misaligned_vector>({.block = 16}, y, x); }
  else if (name == "too_many_threads") { launch<write_to>({.block = 2048}, y, 0); }
  else if (name == "empty_grid") { launch<write_to>({.grid = 0, .block = 32}, y, 0); }
  else if (name == "too_much_shared_memory") { launch<dynamic_overrun>({.block = 32, .smem = 300000}, y, 0); }
  else if (name == "right: barrier") { launch<broadcast<true>>({.block = 64}, y); }
  else if (name == "right: syncwarp") { launch<reverse_in_warp<true>>({.block = 32}, y); }
  else if (name == "right: second_barrier") { launch<rotate<true>>({.block = 64}, y, 3); }
  else if (name == "right: atomic") { launch<sum_with_atomic>({.grid = 64, .block = 1}, y); }
  else if (name == "right: wait") { launch<copy_async<0>>({.block = 32}, y, x); }
  else if (name == "right: mma") { launch<one_mma>({.block = 32}, y, a, b); }
  else if (name == "right: helpers") { launch<helpers>({.block = 128}, y, scan, x, 100); }
}

}  // namespace pumice::testing
