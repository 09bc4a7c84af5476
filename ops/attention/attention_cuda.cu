// Attention over packed sequences whose offsets live on the device. The backward pass runs twice over the scores, once with blocks that own
// queries and once with blocks that own keys: two products more than one pass with atomics, and the same bits on every run.
#include "pumice/ops/attention/attention_fma_cuda.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/simt/device_scratch.h"

namespace pumice::cuda {
namespace {

// delta (T, H) = <dout, out>. A warp per row, four rows per block.
template <class T>
__global__ void __launch_bounds__(128) row_dots(AttentionShape s, float* delta, Heads<const T> dout, Heads<const T> out) {
  const int64_t row = int64_t(blockIdx.x) * 4 + threadIdx.x / 32, token = row / s.heads, head = row % s.heads;
  if (token >= s.queries) { return; }
  float sum = 0;
  for (int d = int(threadIdx.x) & 31; d < s.D; d += 32) { sum += float(dout.at(token, head)[d]) * float(out.at(token, head)[d]); }
  sum = simt::warp_reduce(sum, simt::Sum());
  if ((threadIdx.x & 31) == 0) { delta[row] = sum; }
}

void require_head(const AttentionShape& s) {
  REQUIRE(ShapeError, s.D <= kMostAttentionD, "[attention] heads of at most ", kMostAttentionD, " elements are computed on a CUDA device, got ", s.D);
}

}  // namespace

void attention_fwd(const AttentionFwd& a) {
  const AttentionShape s = shape_of(a);
  require_head(s);
  if (s.queries == 0 || s.heads == 0) { return; }
  simt::launch_typed(a.q.dtype, [&]<class T>() {
    simt::launch<fma::forward<T>>({.grid = grid_of<fma::kOwn>(s, false), .block = fma::kThreads, .smem = fma::forward_bytes(s.D)}, s, heads_of<T>(a.out),
                                  a.lse.as<float>(), heads_of<const T>(a.q), heads_of<const T>(a.k), heads_of<const T>(a.v), a.q_offsets.as<int32_t>(),
                                  a.k_offsets.as<int32_t>());
  });
}

void attention_bwd(const AttentionBwd& a) {
  const AttentionShape s = shape_of(a);
  require_head(s);
  if (s.heads == 0) { return; }
  const int32_t *q_offsets = a.q_offsets.as<int32_t>(), *k_offsets = a.k_offsets.as<int32_t>();
  simt::DeviceScratch<float> delta(s.queries * s.heads + 1);
  simt::launch_typed(a.q.dtype, [&]<class T>() {
    const auto q = heads_of<const T>(a.q), k = heads_of<const T>(a.k), v = heads_of<const T>(a.v), dout = heads_of<const T>(a.dout);
    const float* lse = a.lse.as<float>();
    if (s.queries > 0) {
      simt::launch<row_dots<T>>({.grid = unsigned((s.queries * s.heads + 3) / 4), .block = 128}, s, delta.get(), dout, heads_of<const T>(a.out));
      simt::launch<fma::backward<T, false>>({.grid = grid_of<fma::kOwn>(s, false), .block = fma::kThreads, .smem = fma::backward_bytes(s.D)}, s,
                                            heads_of<T>(a.dq), Heads<T>{}, q, dout, k, v, lse, delta.get(), q_offsets, k_offsets);
    }
    if (s.keys > 0) {
      simt::launch<fma::backward<T, true>>({.grid = grid_of<fma::kOwn>(s, true), .block = fma::kThreads, .smem = fma::backward_bytes(s.D)}, s,
                                           heads_of<T>(a.dk), heads_of<T>(a.dv), k, v, q, dout, lse, delta.get(), q_offsets, k_offsets);
    }
  });
}

}  // namespace pumice::cuda
