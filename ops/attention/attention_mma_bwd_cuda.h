// The backward pass of attention_mma_cuda.h, in the same two forms: each is one kernel, run with blocks that own queries (dq) and with blocks that own
// keys (dk and dv).
#pragma once
#include "pumice/ops/attention/attention_mma_cuda.h"

namespace pumice::cuda::mma {

// Rows of a tile of the other side: two tiles of scores and the gradients of wide heads fit in 255 registers.
template <int DP> inline constexpr int kTileRows = DP <= 64 ? 64 : 32;
template <int DP> inline constexpr int kTileElements = kTileRows<DP> * kStride<DP>;
template <int DP>
inline constexpr size_t kBackwardBytes = sizeof(bf16) * (2 * kOwn * kStride<DP> + 4 * kTileElements<DP>) + sizeof(float) * 4 * kTileRows<DP>;

// lse (in units of log 2) and delta of a query; for one that does not exist, values that make its probabilities zero.
struct RowStatistics { float lse, delta; };
__device__ __forceinline__ RowStatistics statistics_of(const AttentionShape& s, const float* lse, const float* delta, const Sequence& n, int query,
                                                       int end, int head) {
  if (query >= end) { return {INFINITY, 0}; }
  const int64_t at = int64_t(n.query + query) * s.heads + head;
  return {lse[at] * kLog2E, delta[at]};
}

// What a warp's 16 rows of one side gather from a tile of the other. With p_ij = exp(scale <q_i, k_j> - lse_i) and
// ds_ij = p_ij (<do_i, v_j> - delta_i):
//   queries (x = q, x2 = do, y = k, y2 = v)   sums_i += sum_j ds_ij k_j                                    6 keys D FLOP per query
//   keys    (x = k, x2 = v, y = q, y2 = do)   sums_j += sum_i ds_ij q_i    sums2_j += sum_i p_ij do_i      8 queries D FLOP per key
// Its own rows begin at `row`, the tile at j, and rows of the other side from `end` on do not count.
template <int DP, bool kOwnsKeys>
__device__ __forceinline__ void gather(Sums<DP>& sums, Sums<DP>& sums2, const bf16* x, const bf16* x2, const bf16* y, const bf16* y2, const float* lse,
                                       const float* delta, const RowStatistics (&mine)[2], const Sequence& n, const AttentionShape& s, int row, int j,
                                       int end) {
  constexpr int kRows = kTileRows<DP>;
  const int columns = end - j;
  Sums<kRows> p = {}, ds = {};
  multiply_rows<kRows, DP>(p, x, y, columns);
  multiply_rows<kRows, DP>(ds, x2, y2, columns);
  SIMT_UNROLL
  for (int c = 0; c < kRows / 8; ++c) {
    SIMT_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int column = column_of(c, e);
      const RowStatistics r = kOwnsKeys ? RowStatistics{lse[column], delta[column]} : mine[e / 2];
      p[c][e] = exp2f(p[c][e] * (s.scale * kLog2E) - r.lse);
      ds[c][e] = p[c][e] * (ds[c][e] - r.delta);
    }
  }
  each_unmet<kRows, kOwnsKeys>(n, s, row, j, end, [&](int c, int e) { p[c][e] = ds[c][e] = 0; });
  add_weighted<kRows, DP>(sums, ds, y, columns);
  if (kOwnsKeys) { add_weighted<kRows, DP>(sums2, p, y2, columns); }
}

// The long form: gradients of 64 rows of one side.
template <int DP, bool kOwnsKeys>
__global__ void __launch_bounds__(kThreads, 2)
backward(AttentionShape s, Heads<bf16> dx, Heads<bf16> dx2, Heads<const bf16> x, Heads<const bf16> x2, Heads<const bf16> y, Heads<const bf16> y2,
         const float* lse, const float* delta, const int32_t* q_offsets, const int32_t* k_offsets) {
  constexpr int kRows = kTileRows<DP>;
  SIMT_DYN_SHARED(bf16, shared);
  const Share own = share_of<kOwn, kOwnsKeys>(s, q_offsets, k_offsets);
  if (own.rows == 0) { return; }
  const Sequence& n = own.sequence;
  const int lane = int(threadIdx.x) & 31, warp = int(threadIdx.x) >> 5;
  bf16 *sx = shared, *sx2 = sx + kOwn * kStride<DP>, *ring = sx2 + kOwn * kStride<DP>;
  bf16 *warp_x = sx + warp * 16 * kStride<DP>, *warp_x2 = sx2 + warp * 16 * kStride<DP>;
  const int rows = within(own.rows - warp * 16, 16);
  float* ring_statistics = reinterpret_cast<float*>(ring + 4 * kTileElements<DP>);  // [2][lse, delta][kRows], of queries of the other side
  const int own_first = (kOwnsKeys ? n.key : n.query) + own.start, other_first = kOwnsKeys ? n.query : n.key;
  const int kv_head = kOwnsKeys ? own.head : own.head / s.group;
  const Range other = n.meets<kOwnsKeys>(own.start, own.rows, s), heads = query_heads<kOwnsKeys>(s, own);
  auto fill = [&](int j, int head, int buffer) {
    bf16* tile = ring + buffer * 2 * kTileElements<DP>;
    load_rows<kRows, DP>(tile, y, other_first + j, other.to - j, kOwnsKeys ? head : kv_head, s.D);
    load_rows<kRows, DP>(tile + kTileElements<DP>, y2, other_first + j, other.to - j, kOwnsKeys ? head : kv_head, s.D);
    if (kOwnsKeys && int(threadIdx.x) < kRows) {
      const RowStatistics r = statistics_of(s, lse, delta, n, j + int(threadIdx.x), other.to, head);
      ring_statistics[buffer * 2 * kRows + threadIdx.x] = r.lse;
      ring_statistics[buffer * 2 * kRows + kRows + threadIdx.x] = r.delta;
    }
  };
  RowStatistics mine[2] = {};
  if (!kOwnsKeys) {
    const int row = own.start + warp * 16 + lane / 4;
    for (int h = 0; h < 2; ++h) { mine[h] = statistics_of(s, lse, delta, n, row + h * 8, own.start + own.rows, own.head); }
  }
  load_rows<kOwn, DP>(sx, x, own_first, own.rows, own.head, s.D);
  load_rows<kOwn, DP>(sx2, x2, own_first, own.rows, own.head, s.D);
  if (other.from < other.to && heads.from < heads.to) { fill(other.from, heads.from, 0); }
  simt::cp_async_commit();
  Sums<DP> sums = {}, sums2 = {};
  int buffer = 0;
  for (int head = heads.from; head < heads.to; ++head) {
    for (int j = other.from; j < other.to; j += kRows, buffer ^= 1) {
      simt::cp_async_wait<0>();
      __syncthreads();  // this tile has arrived for everyone, and everyone is done with the buffer that is filled next
      const bool last = j + kRows >= other.to;
      if (head + last < heads.to) { fill(last ? other.from : j + kRows, head + last, buffer ^ 1); }
      simt::cp_async_commit();
      const bf16 *tile = ring + buffer * 2 * kTileElements<DP>, *tile2 = tile + kTileElements<DP>;
      const float* statistics = ring_statistics + buffer * 2 * kRows;
      if (rows == 0) { continue; }
      gather<DP, kOwnsKeys>(sums, sums2, warp_x, warp_x2, tile, tile2, statistics, statistics + kRows, mine, n, s, own.start + warp * 16, j,
                            other.to);
    }
  }
  simt::cp_async_wait<0>();
  __syncthreads();  // without tiles, the own rows may still be on their way to the memory that store_rows uses
  store_rows<DP>(warp_x, sums, s.scale, s.scale, dx, own_first + warp * 16, rows, own.head, s.D);
  if (kOwnsKeys) { store_rows<DP>(warp_x2, sums2, 1, 1, dx2, own_first + warp * 16, rows, own.head, s.D); }
}

template <int DP> inline constexpr int kStatistics = kResident<DP> + kTileRows<DP>;  // a last tile may reach beyond the rows
template <int DP>
inline constexpr size_t kShortBackwardBytes = sizeof(bf16) * size_t(2 * kOwn + 2 * kResident<DP>) * kStride<DP> + sizeof(float) * 2 * kStatistics<DP>;

// The short form: gradients of up to kResident rows of one side, 64 at a time. The other side is read once if it fits and is one head, otherwise
// once per 64 rows; a warp goes through those that some of its 16 rows meet, from a multiple of 16.
template <int DP, bool kOwnsKeys>
__global__ void __launch_bounds__(kThreads, DP <= 32 && !kOwnsKeys ? 3 : 2)
short_backward(AttentionShape s, Heads<bf16> dx, Heads<bf16> dx2, Heads<const bf16> x, Heads<const bf16> x2, Heads<const bf16> y, Heads<const bf16> y2,
               const float* lse, const float* delta, const int32_t* q_offsets, const int32_t* k_offsets) {
  constexpr int kRows = kTileRows<DP>, kMost = kResident<DP>;
  SIMT_DYN_SHARED(bf16, shared);
  const Share own = share_of<kMost, kOwnsKeys>(s, q_offsets, k_offsets);
  if (own.rows == 0) { return; }
  const Sequence& n = own.sequence;
  const int lane = int(threadIdx.x) & 31, warp = int(threadIdx.x) >> 5;
  bf16 *warp_x = shared + warp * 16 * kStride<DP>, *warp_x2 = warp_x + kOwn * kStride<DP>;
  bf16 *sy = shared + 2 * kOwn * kStride<DP>, *sy2 = sy + kMost * kStride<DP>;
  float *shared_lse = reinterpret_cast<float*>(sy2 + kMost * kStride<DP>), *shared_delta = shared_lse + kStatistics<DP>;
  const int own_first = kOwnsKeys ? n.key : n.query, other_first = kOwnsKeys ? n.query : n.key;
  const int kv_head = kOwnsKeys ? own.head : own.head / s.group;
  const Range all = n.meets<kOwnsKeys>(own.start, own.rows, s), heads = query_heads<kOwnsKeys>(s, own);
  const bool stays = all.to - all.from <= kMost && heads.to - heads.from == 1;
  auto fill = [&](int first, int head) {
    const int count = min(all.to - first, kMost), from = other_first + first, y_head = kOwnsKeys ? head : kv_head;
    load_rows<DP>(sy, y, from, count, padded16(count), y_head, s.D, int(threadIdx.x), kThreads);
    load_rows<DP>(sy2, y2, from, count, padded16(count), y_head, s.D, int(threadIdx.x), kThreads);
    for (int i = int(threadIdx.x); kOwnsKeys && i < kStatistics<DP>; i += kThreads) {
      const RowStatistics r = statistics_of(s, lse, delta, n, first + i, all.to, head);
      shared_lse[i] = r.lse;
      shared_delta[i] = r.delta;
    }
  };
  for (int group = 0; group < own.rows; group += kOwn) {
    const int start = own.start + group + warp * 16, rows = within(own.rows - group - warp * 16, 16);
    const int end = kOwnsKeys ? all.to : n.meets<kOwnsKeys>(own.start + group, min(kOwn, own.rows - group), s).to;
    load_rows<DP>(warp_x, x, own_first + start, rows, 16, own.head, s.D, lane, 32);
    load_rows<DP>(warp_x2, x2, own_first + start, rows, 16, own.head, s.D, lane, 32);
    RowStatistics mine[2] = {};
    if (!kOwnsKeys) {
      for (int h = 0; h < 2; ++h) { mine[h] = statistics_of(s, lse, delta, n, start + lane / 4 + h * 8, start + rows, own.head); }
    }
    Sums<DP> sums = {}, sums2 = {};
    for (int head = heads.from; head < heads.to; ++head) {
      for (int first = all.from; first < end; first += kMost) {
        if (!stays) { __syncthreads(); }  // everyone is done with the rows before these
        if (!stays || group == 0) { fill(first, head); }
        simt::cp_async_commit();
        simt::cp_async_wait<0>();
        if (!stays || group == 0) { __syncthreads(); }
        else { __syncwarp(); }
        if (rows == 0) { continue; }
        const Range met = n.meets<kOwnsKeys>(start, rows, s);
        const int here = min(met.to - first, kMost);
        for (int j = max(0, met.from - first) / 16 * 16; j < here; j += kRows) {
          gather<DP, kOwnsKeys>(sums, sums2, warp_x, warp_x2, sy + j * kStride<DP>, sy2 + j * kStride<DP>, shared_lse + j, shared_delta + j, mine, n,
                                s, start, first + j, first + here);
        }
      }
    }
    simt::cp_async_commit();
    simt::cp_async_wait<0>();
    store_rows<DP>(warp_x, sums, s.scale, s.scale, dx, own_first + start, rows, own.head, s.D);
    if (kOwnsKeys) { store_rows<DP>(warp_x2, sums2, 1, 1, dx2, own_first + start, rows, own.head, s.D); }
    __syncwarp();  // the rows of the next group go where these lay
  }
}

}  // namespace pumice::cuda::mma
