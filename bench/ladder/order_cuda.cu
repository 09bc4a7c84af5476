// The order in which the tokens of a routing group claim places with experts: by falling gate, equal gates by position. A rung gives each token its place in its
// group. Comparing all with all needs no sort and costs n^2; a radix sort costs four passes. With nvcc, what a library makes of it stands between them.
#include <algorithm>
#include <numeric>

#include "ladder.h"
#include "pumice/moe/assignment_kernels.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/simt/simt.h"
#if defined(__CUDACC__)
#include <thrust/execution_policy.h>
#include <thrust/sort.h>
#endif

namespace pumice::ladder {
namespace {

// A token before another: by gate, then by position.
__device__ __forceinline__ bool before(float a, int at_a, float b, int at_b) { return a > b || (a == b && at_a < at_b); }

// A thread per token counts those before it. All threads of a warp read the same gate at the same time: one sector for 32 of them, from the caches, n times.
// Grid T / 256, 256 threads; n is a multiple of 256.
__global__ void __launch_bounds__(256) count_all(float* place, const float* gate, int n) {
  const int64_t t = int64_t(blockIdx.x) * 256 + threadIdx.x;
  const int64_t begin = t / n * n;
  const float own = gate[t];
  int count = 0;
  for (int i = 0; i < n; ++i) { count += before(gate[begin + i], i, own, int(t - begin)); }
  place[t] = float(count);
}

// The same, but a block brings 256 gates to shared memory at a time and all its threads read them there: memory is asked once for each block.
__global__ void __launch_bounds__(256) count_by_tiles(float* place, const float* gate, int n) {
  SIMT_SHARED(float, tile, [256]);
  const int64_t t = int64_t(blockIdx.x) * 256 + threadIdx.x;
  const int64_t begin = t / n * n;
  const float own = gate[t];
  int count = 0;
  for (int first = 0; first < n; first += 256) {
    __syncthreads();
    tile[threadIdx.x] = gate[begin + first + int(threadIdx.x)];
    __syncthreads();
    for (int i = 0; i < 256; ++i) { count += before(tile[i], first + i, own, int(t - begin)); }
  }
  place[t] = float(count);
}

#if defined(__CUDACC__)
// Keys that sort as (group, falling gate): the bits of floats >= 0 are ordered as the numbers are.
__global__ void __launch_bounds__(256) make_keys(uint64_t* key, int32_t* token, const float* gate, int n) {
  const int64_t t = int64_t(blockIdx.x) * 256 + threadIdx.x;
  key[t] = uint64_t(t / n) << 32 | ~uint32_t(__float_as_int(gate[t]));
  token[t] = int32_t(t);
}
__global__ void __launch_bounds__(256) scatter_places(float* place, const int32_t* token, int n) {
  const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
  place[token[i]] = float(i % n);
}
// One sort of all groups, by Thrust: eight passes over keys of eight bytes, and memory of its own at every call, for which the host waits. The engine cannot use it: a
// recorded step must not allocate.
Tensor by_thrust(const Tensor& place, const Tensor& gate, const Tensor& key, const Tensor& token, int n) {
  const unsigned grid = unsigned(gate.size() / 256);
  auto* keys = reinterpret_cast<uint64_t*>(key.data<int64_t>());
  int32_t* tokens = token.data<int32_t>();
  simt::launch<make_keys>({.grid = grid, .block = 256}, keys, tokens, gate.data<float>(), n);
  cuda_device::in_stream([=, count = gate.size()](void* stream) {
    thrust::stable_sort_by_key(thrust::cuda::par.on(static_cast<cudaStream_t>(stream)), keys, keys + count, tokens);
  });
  simt::launch<scatter_places>({.grid = grid, .block = 256}, place.data<float>(), tokens, n);
  return place;
}
#endif

}  // namespace

Ladder order_f32(bool large) {
  const int G = large ? 16 : 2, n = large ? 8192 : 512, T = G * n;
  const Tensor wide = values({T}, DType::f32, 1), place = empty({T}, DType::f32, Device::cuda());
  std::vector<float> gates = wide.to_vector<float>();
  for (float& g : gates) { g = std::round((g + 1) * 2048) / 4096; }  // in [0, 1], with equal ones
  const Tensor gate = to_device(from_values<float>({T}, gates), Device::cuda());
  Ladder l{.name = concat_text("order of ", G, " groups of ", n, " tokens"), .bytes = 8.0 * T, .flops = 0, .multiplies = DType::f32, .bound = 0, .rows = G, .columns = n,
           .out = place};
  l.reference = [=](int64_t g) {
    std::vector<int> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return gates[size_t(g * n + a)] > gates[size_t(g * n + b)]; });
    std::vector<double> want(static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) { want[size_t(order[size_t(i)])] = i; }
    return want;
  };
  const auto rung = [=]<auto kernel>() {
    return [=] {
      simt::launch<kernel>({.grid = unsigned(T / 256), .block = 256}, place.data<float>(), gate.data<float>(), n);
      return place;
    };
  };
  l.rungs = {{"count all", "no sort: a token's place is how many are before it", rung.template operator()<count_all>()},
             {"count by tiles", "gates are read from shared memory, 256 at a time", rung.template operator()<count_by_tiles>()}};
#if defined(__CUDACC__)
  const Tensor key = empty({T}, DType::i64, Device::cuda()), token = empty({T}, DType::i32, Device::cuda());
  l.rungs.push_back({"a library's sort", "Thrust's stable radix sort of (group, gate)", [=] { return by_thrust(place, gate, key, token, n); }});
#endif
  // One expert that takes everybody: a token's slot is its place.
  std::vector<int64_t> offsets, capacity(size_t(G), n);
  for (int g = 0; g <= G; ++g) { offsets.push_back(int64_t(g) * n); }
  const auto on_device = [](const Tensor& t) { return to_device(t, Device::cuda()); };
  const Tensor begins = on_device(from_values<int64_t>({G + 1}, offsets)), most = on_device(from_values<int64_t>({G}, capacity));
  const Tensor slot = empty({T, 1}, DType::i32, Device::cuda()), claims = empty({G, 1}, DType::i32, Device::cuda()), expert = zeros({T, 1}, DType::i32, Device::cuda());
  l.rungs.push_back({"the engine", "a radix sort of each group by one block, whose passes stay in the nearest cache; places as integers: moe/assignment_cuda.cu", [=] {
                       assign_slots_kernel(Device::cuda(), {slot, claims, expert, gate.reshape({T, 1}), begins, most, G, 1, 1, 0, Order::batch_priority, {}});
                       return to_dtype(slot, DType::f32);
                     }});
  return l;
}

}  // namespace pumice::ladder
