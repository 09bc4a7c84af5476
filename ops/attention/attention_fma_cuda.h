// Attention in f32 on CUDA, and in bf16 for heads too wide for mma.sync: plain multiply-adds over rows in shared memory. A block owns 16 rows, four
// for each of its warps, and walks over tiles of 32 rows of the other side: a lane has one of them, so that sums over a tile are sums over a warp.
#pragma once
#include "pumice/ops/attention/sequences_cuda.h"

namespace pumice::cuda::fma {

constexpr int kOwn = 16, kTile = 32, kThreads = 128, kWarps = kThreads / 32;

// Rows [first, first + count) of a head, the rest of kRows zero.
template <int kRows, class T> __device__ void load_rows(float* to, int stride, const Heads<const T>& x, int first, int count, int head, int D) {
  for (int i = int(threadIdx.x); i < kRows * D; i += kThreads) {
    const int row = i / D, d = i % D;
    to[row * stride + d] = row < count ? float(x.at(first + row, head)[d]) : 0.0f;
  }
}
__device__ __forceinline__ float dot(const float* x, const float* y, int D) {
  float sum = 0;
  for (int d = 0; d < D; ++d) { sum += x[d] * y[d]; }
  return sum;
}
// row[d] = row[d] * keep + sum over the tile of weights[j] y[j][d]
__device__ __forceinline__ void add_weighted(float* row, float keep, const float* weights, const float* y, int stride, int D) {
  for (int d = int(threadIdx.x) & 31; d < D; d += 32) {
    float sum = row[d] * keep;
    for (int j = 0; j < kTile; ++j) { sum += weights[j] * y[j * stride + d]; }
    row[d] = sum;
  }
}

inline size_t forward_bytes(int D) { return sizeof(float) * size_t(2 * kOwn * D + 2 * kTile * (D + 1) + kOwn * kTile); }

// out, lse of 16 queries of a head, with the softmax over tiles of keys kept by its maximum and sum so far. Reads K and V once per 16 queries.
template <class T>
__global__ void __launch_bounds__(kThreads, sizeof(T) == 2 ? 4 : 8)  // as many blocks as shared memory has room for: bf16 comes here with wide heads
forward(AttentionShape s, Heads<T> out, float* lse, Heads<const T> q, Heads<const T> k, Heads<const T> v, const int32_t* q_offsets,
        const int32_t* k_offsets) {
  SIMT_DYN_SHARED(float, shared);
  const Share own = share_of<kOwn, false>(s, q_offsets, k_offsets);
  if (own.rows == 0) { return; }
  const int D = s.D, stride = D + 1, lane = int(threadIdx.x) & 31, warp = int(threadIdx.x) >> 5, kv_head = own.head / s.group;
  float *sq = shared, *so = sq + kOwn * D, *sk = so + kOwn * D, *sv = sk + kTile * stride, *weights = sv + kTile * stride;
  const Sequence& n = own.sequence;
  load_rows<kOwn>(sq, D, q, n.query + own.start, own.rows, own.head, D);
  for (int i = int(threadIdx.x); i < kOwn * D; i += kThreads) { so[i] = 0; }
  float top[kOwn / kWarps], sum[kOwn / kWarps] = {};
  for (float& t : top) { t = -INFINITY; }  // the first tile, twice as long as the block has rows, holds keys that each of them sees
  const Range keys = n.meets<false>(own.start, own.rows, s);
  for (int j = keys.from; j < keys.to; j += kTile) {
    __syncthreads();
    load_rows<kTile>(sk, stride, k, n.key + j, n.keys - j, kv_head, D);
    load_rows<kTile>(sv, stride, v, n.key + j, n.keys - j, kv_head, D);
    __syncthreads();
    SIMT_UNROLL
    for (int r = 0; r < kOwn / kWarps; ++r) {
      const int i = warp + r * kWarps;
      const Range seen = n.meets<false>(own.start + i, s);
      const float score = seen.from <= j + lane && j + lane < seen.to ? dot(sq + i * D, sk + lane * stride, D) * s.scale : -INFINITY;
      const float before = top[r];
      top[r] = simt::Max()(before, simt::warp_reduce(score, simt::Max()));
      const float p = expf(score - top[r]), keep = expf(before - top[r]);
      sum[r] = sum[r] * keep + simt::warp_reduce(p, simt::Sum());
      weights[i * kTile + lane] = p;
      __syncwarp();
      add_weighted(so + i * D, keep, weights + i * kTile, sv, stride, D);
    }
  }
  SIMT_UNROLL
  for (int r = 0; r < kOwn / kWarps; ++r) {
    const int i = warp + r * kWarps;
    if (i >= own.rows) { continue; }
    const int token = n.query + own.start + i;
    for (int d = lane; d < D; d += 32) { out.at(token, own.head)[d] = T(so[i * D + d] / sum[r]); }
    if (lane == 0) { lse[int64_t(token) * s.heads + own.head] = top[r] + logf(sum[r]); }
  }
}

inline size_t backward_bytes(int D) { return sizeof(float) * size_t(4 * kOwn * D + 2 * kTile * (D + 1) + 2 * kOwn * kTile); }

// Gradients of 16 rows of one side. With p_ij = exp(scale <q_i, k_j> - lse_i) and ds_ij = p_ij (<do_i, v_j> - delta_i):
//   queries (x = q, x2 = do, y = k, y2 = v)   dx_i = scale sum_j ds_ij k_j
//   keys    (x = k, x2 = v, y = q, y2 = do)   dx_j = scale sum_i ds_ij q_i    dx2_j = sum_i p_ij do_i    i over all heads of the group
template <class T, bool kOwnsKeys>
__global__ void __launch_bounds__(kThreads)
backward(AttentionShape s, Heads<T> dx, Heads<T> dx2, Heads<const T> x, Heads<const T> x2, Heads<const T> y, Heads<const T> y2, const float* lse,
         const float* delta, const int32_t* q_offsets, const int32_t* k_offsets) {
  SIMT_DYN_SHARED(float, shared);
  const Share own = share_of<kOwn, kOwnsKeys>(s, q_offsets, k_offsets);
  if (own.rows == 0) { return; }
  const int D = s.D, stride = D + 1, lane = int(threadIdx.x) & 31, warp = int(threadIdx.x) >> 5;
  float *sx = shared, *sx2 = sx + kOwn * D, *sdx = sx2 + kOwn * D, *sdx2 = sdx + kOwn * D, *sy = sdx2 + kOwn * D, *sy2 = sy + kTile * stride;
  float *p_row = sy2 + kTile * stride, *ds_row = p_row + kOwn * kTile;
  const Sequence& n = own.sequence;
  const int own_first = (kOwnsKeys ? n.key : n.query) + own.start, other_first = kOwnsKeys ? n.query : n.key;
  load_rows<kOwn>(sx, D, x, own_first, own.rows, own.head, D);
  load_rows<kOwn>(sx2, D, x2, own_first, own.rows, own.head, D);
  for (int i = int(threadIdx.x); i < 2 * kOwn * D; i += kThreads) { sdx[i] = 0; }
  const Range other = n.meets<kOwnsKeys>(own.start, own.rows, s), heads = query_heads<kOwnsKeys>(s, own);
  for (int head = heads.from; head < heads.to; ++head) {
    const int other_head = kOwnsKeys ? head : head / s.group;
    for (int j = other.from; j < other.to; j += kTile) {
      __syncthreads();
      load_rows<kTile>(sy, stride, y, other_first + j, other.to - j, other_head, D);
      load_rows<kTile>(sy2, stride, y2, other_first + j, other.to - j, other_head, D);
      __syncthreads();
      for (int i = warp; i < kOwn; i += kWarps) {
        const Range met = n.meets<kOwnsKeys>(own.start + i, s);
        float p = 0, ds = 0;
        if (i < own.rows && met.from <= j + lane && j + lane < met.to) {
          const int64_t at = int64_t(n.query + (kOwnsKeys ? j + lane : own.start + i)) * s.heads + head;
          p = expf(dot(sx + i * D, sy + lane * stride, D) * s.scale - lse[at]);
          ds = p * (dot(sx2 + i * D, sy2 + lane * stride, D) - delta[at]);
        }
        p_row[i * kTile + lane] = p;
        ds_row[i * kTile + lane] = ds;
        __syncwarp();
        add_weighted(sdx + i * D, 1, ds_row + i * kTile, sy, stride, D);
        if (kOwnsKeys) { add_weighted(sdx2 + i * D, 1, p_row + i * kTile, sy2, stride, D); }
      }
    }
  }
  __syncthreads();
  for (int i = int(threadIdx.x); i < own.rows * D; i += kThreads) {
    dx.at(own_first + i / D, own.head)[i % D] = T(sdx[i] * s.scale);
    if (kOwnsKeys) { dx2.at(own_first + i / D, own.head)[i % D] = T(sdx2[i]); }
  }
}

}  // namespace pumice::cuda::fma
