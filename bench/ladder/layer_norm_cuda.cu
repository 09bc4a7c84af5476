// Layer norm over rows of C: y = (x - mean) / sqrt(var + eps) * w + b. Almost no arithmetic: what counts is how often x is read (8 bytes per element is
// the least, 4 in and 4 out), that whole sectors of it are used, and how little threads wait for each other.
#include <cmath>

#include "ladder.h"
#include "pumice/ops/norm/layer_norm_kernels.h"
#include "pumice/tensor/simt/simt.h"

namespace pumice::ladder {
namespace {

constexpr float kEps = 1e-5f;

// A thread per row, as one would write it for a CPU. Neighbouring threads read numbers that lie a row apart: each fetches a sector of 32 bytes for 4. Three
// times, because a row has no place to stay.   Grid R / 32, 32 threads.
__global__ void __launch_bounds__(32) row_per_thread(float* y, const float* x, const float* w, const float* b, int C) {
  const int r = int(blockIdx.x) * 32 + int(threadIdx.x);
  x += int64_t(r) * C;
  y += int64_t(r) * C;
  float sum = 0, squares = 0;
  for (int c = 0; c < C; ++c) { sum += x[c]; }
  const float mean = sum / float(C);
  for (int c = 0; c < C; ++c) { squares += (x[c] - mean) * (x[c] - mean); }
  const float rstd = 1 / sqrtf(squares / float(C) + kEps);
  for (int c = 0; c < C; ++c) { y[c] = (x[c] - mean) * rstd * w[c] + b[c]; }
}

// A block per row: neighbouring threads read neighbours. Sums are a tree in shared memory with a barrier at each level; by a fixed tree, so that
// the bits are the same on every run.   Grid R, 256 threads.
__device__ float sum_by_tree(float v) {
  SIMT_SHARED(float, part, [256]);
  part[threadIdx.x] = v;
  __syncthreads();
  for (int half = 128; half; half /= 2) {
    if (int(threadIdx.x) < half) { part[threadIdx.x] += part[threadIdx.x + half]; }
    __syncthreads();
  }
  const float sum = part[0];
  __syncthreads();  // the next sum goes where this one lies
  return sum;
}
__global__ void __launch_bounds__(256) row_per_block(float* y, const float* x, const float* w, const float* b, int C) {
  x += int64_t(blockIdx.x) * C;
  y += int64_t(blockIdx.x) * C;
  float sum = 0, squares = 0;
  for (int c = int(threadIdx.x); c < C; c += 256) { sum += x[c]; }
  const float mean = sum_by_tree(sum) / float(C);
  for (int c = int(threadIdx.x); c < C; c += 256) { squares += (x[c] - mean) * (x[c] - mean); }
  const float rstd = 1 / sqrtf(sum_by_tree(squares) / float(C) + kEps);
  for (int c = int(threadIdx.x); c < C; c += 256) { y[c] = (x[c] - mean) * rstd * w[c] + b[c]; }
}

// A warp per row: lanes pass sums by shuffles, and no warp waits for another. Memory is still read in each of the three passes, two of them from the
// caches if the row is lucky.   Grid R / 4, 128 threads.
__global__ void __launch_bounds__(128) row_per_warp(float* y, const float* x, const float* w, const float* b, int C) {
  const int64_t r = int64_t(blockIdx.x) * 4 + threadIdx.x / 32;
  const int lane = int(threadIdx.x) % 32;
  x += r * C;
  y += r * C;
  float sum = 0, squares = 0;
  for (int c = lane; c < C; c += 32) { sum += x[c]; }
  const float mean = simt::warp_reduce(sum, simt::Sum()) / float(C);
  for (int c = lane; c < C; c += 32) { squares += (x[c] - mean) * (x[c] - mean); }
  const float rstd = 1 / sqrtf(simt::warp_reduce(squares, simt::Sum()) / float(C) + kEps);
  for (int c = lane; c < C; c += 32) { y[c] = (x[c] - mean) * rstd * w[c] + b[c]; }
}

// The row stays in registers, so that memory is read once however many passes the formula has. (The other way to one read, sums of x and of x * x, loses
// all digits of the variance where the mean is large.)   C = 32 * kHeld. Grid and block as before.
template <int kHeld> __global__ void __launch_bounds__(128) row_in_registers(float* y, const float* x, const float* w, const float* b) {
  constexpr int C = 32 * kHeld;
  const int64_t r = int64_t(blockIdx.x) * 4 + threadIdx.x / 32;
  const int lane = int(threadIdx.x) % 32;
  x += r * C;
  y += r * C;
  float row[kHeld], sum = 0, squares = 0;
  SIMT_UNROLL
  for (int i = 0; i < kHeld; ++i) { sum += row[i] = x[lane + 32 * i]; }
  const float mean = simt::warp_reduce(sum, simt::Sum()) / float(C);
  SIMT_UNROLL
  for (int i = 0; i < kHeld; ++i) { squares += (row[i] - mean) * (row[i] - mean); }
  const float rstd = 1 / sqrtf(simt::warp_reduce(squares, simt::Sum()) / float(C) + kEps);
  SIMT_UNROLL
  for (int i = 0; i < kHeld; ++i) {
    const int c = lane + 32 * i;
    y[c] = (row[i] - mean) * rstd * w[c] + b[c];
  }
}

}  // namespace

Ladder layer_norm_f32(bool large) {
  const int R = large ? 65536 : 128, C = large ? 1024 : 512;
  const Tensor x = values({R, C}, DType::f32, 1), w = values({C}, DType::f32, 2), b = values({C}, DType::f32, 3), y = empty_like(x);
  Ladder l{.name = "layer_norm f32 " + std::to_string(R) + " x " + std::to_string(C), .bytes = 8.0 * R * C, .flops = 8.0 * R * C,
           .multiplies = DType::f32, .bound = 1e-6, .rows = R, .columns = C, .out = y};
  l.reference = [C, x = x.to_vector<float>(), w = w.to_vector<float>(), b = b.to_vector<float>()](int64_t r) {
    const float* row = x.data() + r * C;
    double mean = 0, var = 0;
    for (int c = 0; c < C; ++c) { mean += row[c] / double(C); }
    for (int c = 0; c < C; ++c) { var += (row[c] - mean) * (row[c] - mean) / C; }
    std::vector<double> want;
    for (int c = 0; c < C; ++c) { want.push_back((row[c] - mean) / std::sqrt(var + kEps) * w[size_t(c)] + b[size_t(c)]); }
    return want;
  };
  const auto rung = [=]<auto kernel>(int rows, int threads) {
    return [=] {
      simt::launch<kernel>({.grid = unsigned(R / rows), .block = unsigned(threads)}, y.data<float>(), x.data<float>(), w.data<float>(), b.data<float>(), C);
      return y;
    };
  };
  const auto in_registers = [=]<int kHeld>() {
    simt::launch<row_in_registers<kHeld>>({.grid = unsigned(R / 4), .block = 128}, y.data<float>(), x.data<float>(), w.data<float>(), b.data<float>());
    return y;
  };
  const Tensor mean = empty({R}, DType::f32, Device::cuda()), rstd = empty_like(mean);
  l.rungs = {
      {"row per thread", "as on a CPU; neighbouring threads read far apart", rung.template operator()<row_per_thread>(32, 32)},
      {"row per block", "neighbouring threads read neighbours; sums by a tree with barriers", rung.template operator()<row_per_block>(1, 256)},
      {"row per warp", "sums by shuffles: no barriers", rung.template operator()<row_per_warp>(4, 128)},
      {"row in registers", "x is read once", [=] { return large ? in_registers.template operator()<32>() : in_registers.template operator()<16>(); }},
      {"the engine", "16 bytes per access, rows of any length, and the statistics for the backward pass: ops/norm/layer_norm_cuda.cu", [=] {
         layer_norm_fwd(Device::cuda(), {y, mean, rstd, x, w, b, R, C, kEps});
         return y;
       }},
  };
  return l;
}

}  // namespace pumice::ladder
