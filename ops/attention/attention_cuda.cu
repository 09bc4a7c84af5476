// Attention over packed sequences whose offsets live on the device. The backward pass runs twice over the scores, once with blocks that own
// queries and once with blocks that own keys: two products more than one pass with atomics, and the same bits on every run. A block that owns keys
// goes through all heads of queries that share them, in order. With a window, blocks walk only over what some of their rows see.
#include "pumice/ops/attention/attention_cudnn_cuda.h"
#include "pumice/ops/attention/attention_fma_cuda.h"
#include "pumice/ops/attention/attention_mma_bwd_cuda.h"
#include "pumice/ops/attention/attention_mma_cuda.h"
#include "pumice/tensor/cuda_device.h"
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
  for (int d = int(threadIdx.x) & 31; d < s.D; d += 32) { sum += float(dout.at(int(token), int(head))[d]) * float(out.at(int(token), int(head))[d]); }
  sum = simt::warp_reduce(sum, simt::Sum());
  if ((threadIdx.x & 31) == 0) { delta[row] = sum; }
}

void require_supported(const AttentionShape& s) {
  REQUIRE(ShapeError, s.D <= kMostAttentionD, "[attention] heads of at most ", kMostAttentionD, " elements are computed on a CUDA device, got ", s.D);
}

// f.template operator()<DP>() with the width to which the mma kernels fill up heads of D elements.
constexpr int kMostMmaD = 128;
template <class F> void with_padded_head(int D, F&& f) {
  if (D <= 32) { f.template operator()<32>(); }
  else if (D <= 64) { f.template operator()<64>(); }
  else if (D <= 80) { f.template operator()<80>(); }
  else if (D <= 96) { f.template operator()<96>(); }
  else { f.template operator()<kMostMmaD>(); }
}

// Whether an average sequence fits in the short form, and that form, `bytes`, in the card: wide heads exceed the 99 KiB of a GeForce.
bool is_short(const AttentionShape& s, int64_t most, size_t bytes) {
  return max(s.queries, s.keys) <= most * s.sequences && bytes <= cuda_device::shared_memory();
}

template <class T> void launch_forward(const AttentionFwd& a, const AttentionShape& s) {
  const Heads<T> out = heads_of<T>(a.out);
  const Heads<const T> q = heads_of<const T>(a.q), k = heads_of<const T>(a.k), v = heads_of<const T>(a.v);
  const int32_t *q_offsets = a.q_offsets.as<int32_t>(), *k_offsets = a.k_offsets.as<int32_t>();
  float* lse = a.lse.as<float>();
  if constexpr (std::is_same_v<T, bf16>) {
    if (s.D <= kMostMmaD) {
      return with_padded_head(s.D, [&]<int DP>() {
        if (is_short(s, mma::kResident<DP>, mma::kShortForwardBytes<DP>)) {
          simt::launch<mma::short_forward<DP>>(
              {.grid = grid_of<mma::kResident<DP>, false>(s), .block = mma::kThreads, .smem = mma::kShortForwardBytes<DP>}, s, out, lse, q, k, v,
              q_offsets, k_offsets);
          return;
        }
        simt::launch<mma::forward<DP>>({.grid = grid_of<mma::kOwn, false>(s), .block = mma::kThreads, .smem = mma::kForwardBytes<DP>}, s, out, lse, q,
                                       k, v, q_offsets, k_offsets);
      });
    }
  }
  simt::launch<fma::forward<T>>({.grid = grid_of<fma::kOwn, false>(s), .block = fma::kThreads, .smem = fma::forward_bytes(s.D)}, s, out, lse, q, k, v,
                                q_offsets, k_offsets);
}

// One side's gradients: dq of queries, or dk and dv of keys.
template <class T, bool kOwnsKeys> void launch_backward(const AttentionBwd& a, const AttentionShape& s, const float* delta) {
  const Heads<const T> q = heads_of<const T>(a.q), k = heads_of<const T>(a.k), v = heads_of<const T>(a.v), dout = heads_of<const T>(a.dout);
  const Heads<const T> x = kOwnsKeys ? k : q, x2 = kOwnsKeys ? v : dout, y = kOwnsKeys ? q : k, y2 = kOwnsKeys ? dout : v;
  const Heads<T> dx = heads_of<T>(kOwnsKeys ? a.dk : a.dq), dx2 = kOwnsKeys ? heads_of<T>(a.dv) : Heads<T>{};
  const int32_t *q_offsets = a.q_offsets.as<int32_t>(), *k_offsets = a.k_offsets.as<int32_t>();
  const float* lse = a.lse.as<float>();
  if ((kOwnsKeys ? s.keys * s.kv_heads : s.queries * s.heads) == 0) { return; }
  if constexpr (std::is_same_v<T, bf16>) {
    if (s.D <= kMostMmaD) {
      return with_padded_head(s.D, [&]<int DP>() {
        if (is_short(s, mma::kResident<DP>, mma::kShortBackwardBytes<DP>)) {
          simt::launch<mma::short_backward<DP, kOwnsKeys>>(
              {.grid = grid_of<mma::kResident<DP>, kOwnsKeys>(s), .block = mma::kThreads, .smem = mma::kShortBackwardBytes<DP>}, s, dx, dx2, x, x2, y,
              y2, lse, delta, q_offsets, k_offsets);
          return;
        }
        simt::launch<mma::backward<DP, kOwnsKeys>>(
            {.grid = grid_of<mma::kOwn, kOwnsKeys>(s), .block = mma::kThreads, .smem = mma::kBackwardBytes<DP>}, s, dx, dx2, x, x2, y, y2, lse, delta,
            q_offsets, k_offsets);
      });
    }
  }
  simt::launch<fma::backward<T, kOwnsKeys>>(
      {.grid = grid_of<fma::kOwn, kOwnsKeys>(s), .block = fma::kThreads, .smem = fma::backward_bytes(s.D)}, s, dx, dx2, x, x2, y, y2, lse, delta,
      q_offsets, k_offsets);
}

}  // namespace

void attention_fwd(const AttentionFwd& a) {
  const AttentionShape s = shape_of(a);
  require_supported(s);
  if (s.queries == 0 || s.heads == 0 || attend_by_cudnn(a)) { return; }
  simt::launch_typed(a.q.dtype, [&]<class T>() { launch_forward<T>(a, s); });
}

void attention_bwd(const AttentionBwd& a) {
  const AttentionShape s = shape_of(a);
  require_supported(s);
  simt::DeviceScratch<float> delta(s.queries * s.heads + 1);
  simt::launch_typed(a.q.dtype, [&]<class T>() {
    if (s.queries * s.heads > 0) {
      simt::launch<row_dots<T>>({.grid = unsigned((s.queries * s.heads + 3) / 4), .block = 128}, s, delta.get(), heads_of<const T>(a.dout),
                                heads_of<const T>(a.out));
    }
    launch_backward<T, false>(a, s, delta.get());
    launch_backward<T, true>(a, s, delta.get());
  });
}

}  // namespace pumice::cuda
