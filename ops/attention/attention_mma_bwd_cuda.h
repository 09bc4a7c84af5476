// The backward pass of attention_mma_cuda.h: one kernel, run with blocks that own queries (dq) and with blocks that own keys (dk and dv).
#pragma once
#include "pumice/ops/attention/attention_mma_cuda.h"

namespace pumice::cuda::mma {

// Rows of a tile of the other side: two tiles of scores and the gradients of wide heads fit in 255 registers.
template <int DP> inline constexpr int kTileRows = DP <= 64 ? 64 : 32;
template <int DP> inline constexpr int kTileElements = kTileRows<DP> * kStride<DP>;
template <int DP> inline constexpr size_t kBackwardBytes = sizeof(bf16) * (2 * kOwn * kStride<DP> + 4 * kTileElements<DP>) + sizeof(float) * 4 * kTileRows<DP>;

// lse (in units of log 2) and delta of a query; for one that does not exist, values that make its probabilities zero.
struct RowStatistics { float lse, delta; };
__device__ __forceinline__ RowStatistics statistics_of(const AttentionShape& s, const float* lse, const float* delta, const Share& own, int query,
                                                       int end) {
  if (query >= end) { return {INFINITY, 0}; }
  const int64_t at = int64_t(own.sequence.query + query) * s.heads + own.head;
  return {lse[at] * kLog2E, delta[at]};
}

// Gradients of 64 rows of one side. With p_ij = exp(scale <q_i, k_j> - lse_i) and ds_ij = p_ij (<do_i, v_j> - delta_i):
//   queries (x = q, x2 = do, y = k, y2 = v)   dx_i = scale sum_j ds_ij k_j                                     6 keys D FLOP per query
//   keys    (x = k, x2 = v, y = q, y2 = do)   dx_j = scale sum_i ds_ij q_i    dx2_j = sum_i p_ij do_i          8 queries D FLOP per key
template <int DP, bool kOwnsKeys>
__global__ void __launch_bounds__(kThreads, 2)
backward(AttentionShape s, Heads<bf16> dx, Heads<bf16> dx2, Heads<const bf16> x, Heads<const bf16> x2, Heads<const bf16> y, Heads<const bf16> y2,
         const float* lse, const float* delta, const int32_t* q_offsets, const int32_t* k_offsets) {
  constexpr int kRows = kTileRows<DP>;
  SIMT_DYN_SHARED(bf16, shared);
  const Share own = share_of<kOwn>(s, kOwnsKeys, q_offsets, k_offsets);
  if (own.rows == 0) { return; }
  const Sequence& n = own.sequence;
  const int lane = int(threadIdx.x) & 31, warp = int(threadIdx.x) >> 5, row = warp * 16 + lane / 4;
  bf16 *sx = shared, *sx2 = sx + kOwn * kStride<DP>, *ring = sx2 + kOwn * kStride<DP>;
  float* ring_statistics = reinterpret_cast<float*>(ring + 4 * kTileElements<DP>);  // [2][lse, delta][kRows], of queries of the other side
  const int own_first = (kOwnsKeys ? n.key : n.query) + own.start, other_first = kOwnsKeys ? n.query : n.key;
  const int begin = kOwnsKeys ? n.first_query(own.start, s.causal) : 0;
  const int end = kOwnsKeys ? n.queries : n.visible(own.start + own.rows - 1, s.causal);
  auto fill = [&](int j, int buffer) {
    bf16* tile = ring + buffer * 2 * kTileElements<DP>;
    load_rows<kRows, DP>(tile, y, other_first + j, end - j, own.head, s.D);
    load_rows<kRows, DP>(tile + kTileElements<DP>, y2, other_first + j, end - j, own.head, s.D);
    if (kOwnsKeys && int(threadIdx.x) < kRows) {
      const RowStatistics r = statistics_of(s, lse, delta, own, j + int(threadIdx.x), end);
      ring_statistics[buffer * 2 * kRows + threadIdx.x] = r.lse;
      ring_statistics[buffer * 2 * kRows + kRows + threadIdx.x] = r.delta;
    }
  };
  RowStatistics mine[2] = {};
  if (!kOwnsKeys) {
    for (int h = 0; h < 2; ++h) { mine[h] = statistics_of(s, lse, delta, own, own.start + row + h * 8, own.start + own.rows); }
  }
  load_rows<kOwn, DP>(sx, x, own_first, own.rows, own.head, s.D);
  load_rows<kOwn, DP>(sx2, x2, own_first, own.rows, own.head, s.D);
  if (begin < end) { fill(begin, 0); }
  simt::cp_async_commit();
  Sums<DP> sums = {}, sums2 = {};
  int buffer = 0;
  for (int j = begin; j < end; j += kRows, buffer ^= 1) {
    simt::cp_async_wait<0>();
    __syncthreads();  // this tile has arrived for everyone, and everyone is done with the buffer that is filled next
    if (j + kRows < end) { fill(j + kRows, buffer ^ 1); }
    simt::cp_async_commit();
    const bf16 *tile = ring + buffer * 2 * kTileElements<DP>, *tile2 = tile + kTileElements<DP>;
    const float* statistics = ring_statistics + buffer * 2 * kRows;
    Sums<kRows> p = {}, ds = {};
    multiply_rows<kRows, DP>(p, sx + warp * 16 * kStride<DP>, tile, end - j);
    multiply_rows<kRows, DP>(ds, sx2 + warp * 16 * kStride<DP>, tile2, end - j);
    int from[2], to[2];  // columns of the tile that go with the thread's rows
    for (int h = 0; h < 2; ++h) {
      const int at = own.start + row + h * 8;
      from[h] = kOwnsKeys ? within(n.first_query(at, s.causal) - j, kRows) : 0;
      to[h] = within((kOwnsKeys ? end : min(end, n.visible(at, s.causal))) - j, kRows);
    }
    SIMT_UNROLL
    for (int c = 0; c < kRows / 8; ++c) {
      SIMT_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int column = column_of(c, e);
        const RowStatistics r = kOwnsKeys ? RowStatistics{statistics[column], statistics[kRows + column]} : mine[e / 2];
        p[c][e] = from[e / 2] <= column && column < to[e / 2] ? exp2f(p[c][e] * (s.scale * kLog2E) - r.lse) : 0.0f;
        ds[c][e] = p[c][e] * (ds[c][e] - r.delta);
      }
    }
    add_weighted<kRows, DP>(sums, ds, tile, end - j);
    if (kOwnsKeys) { add_weighted<kRows, DP>(sums2, p, tile2, end - j); }
  }
  simt::cp_async_wait<0>();
  __syncthreads();  // without tiles, the own rows may still be on their way to the memory that store_rows uses
  const int rows = min(own.rows - warp * 16, 16);
  store_rows<DP>(sx + warp * 16 * kStride<DP>, sums, s.scale, s.scale, dx, own_first + warp * 16, rows, own.head, s.D);
  if (kOwnsKeys) { store_rows<DP>(sx2 + warp * 16 * kStride<DP>, sums2, 1, 1, dx2, own_first + warp * 16, rows, own.head, s.D); }
}

}  // namespace pumice::cuda::mma
