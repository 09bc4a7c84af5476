// Attention in bf16 on CUDA, on tensor cores (FlashAttention-2: Dao 2023, arXiv:2307.08691). A warp owns 16 rows of a head and walks over tiles of the
// other side. Scores and probabilities stay in registers: the results of one product already lie in the order in which the next one wants its A.
// Two forms, chosen by the average length of a sequence, which the host knows:
//   short   a block owns a sequence: the other side lies in shared memory as a whole, read once, and its warps take their rows in turn without meeting
//           again. Both sides are filled up to multiples of 16, so that 77 tokens cost 80 x 80 scores.
//   long    a block owns 64 rows, and cp.async brings tiles of the other side into one of two buffers while the other is multiplied
#pragma once
#include "pumice/ops/attention/sequences_cuda.h"
#include "pumice/tensor/simt/fragments.h"

namespace pumice::cuda::mma {

constexpr int kOwn = 64, kThreads = 128;
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
template <int DP> inline constexpr int kStride = DP + 8;  // of a row of DP elements in shared memory

// Eight elements of one of the rows [first, first + count) of a head, zero beyond count and beyond D.
template <int DP>
__device__ __forceinline__ void load_chunk(bf16* to, const Heads<const bf16>& x, int first, int count, int head, int D, int chunk) {
  const int row = chunk / (DP / 8), d = chunk % (DP / 8) * 8;
  const bool inside = row < count && d < D;
  const bf16* from = inside ? x.at(first + row, head) + d : x.data;
  const int n = inside ? min(D - d, 8) : 0;
  if (x.vector) { simt::cp_async16(to + row * kStride<DP> + d, from, 2 * n); }
  else { simt::gather_chunk(to + row * kStride<DP> + d, from, 1, n); }
}
// `rows` of them as (rows, DP), by `threads` threads of which this is number `thread`.
template <int DP>
__device__ __forceinline__ void load_rows(bf16* to, const Heads<const bf16>& x, int first, int count, int rows, int head, int D, int thread,
                                          int threads) {
  for (int chunk = thread; chunk < rows * (DP / 8); chunk += threads) { load_chunk<DP>(to, x, first, count, head, D, chunk); }
}
// The same by the whole block, for a number of rows that is known.
template <int kRows, int DP> __device__ __forceinline__ void load_rows(bf16* to, const Heads<const bf16>& x, int first, int count, int head, int D) {
  constexpr int kChunks = kRows * (DP / 8);
  SIMT_UNROLL
  for (int i = 0; i < kChunks; i += kThreads) {
    const int chunk = i + int(threadIdx.x);
    if (kChunks % kThreads == 0 || chunk < kChunks) { load_chunk<DP>(to, x, first, count, head, D, chunk); }
  }
}

// A warp's 16 rows of sums, the upper and the lower eight times their factors, to tokens [first, first + rows). They go through the warp's own rows of
// shared memory, so that whole rows are stored.
template <int DP>
__device__ __forceinline__ void store_rows(bf16* shared, const float (&sums)[DP / 8][4], float upper, float lower, const Heads<bf16>& out, int first,
                                           int rows, int head, int D) {
  const int lane = int(threadIdx.x) & 31;
  __syncwarp();  // all lanes have read what lay there
  SIMT_UNROLL
  for (int j = 0; j < DP / 8; ++j) {
    bf16* to = shared + lane / 4 * kStride<DP> + j * 8 + lane % 4 * 2;
    *reinterpret_cast<uint32_t*>(to) = simt::pack_bf16(sums[j][0] * upper, sums[j][1] * upper);
    *reinterpret_cast<uint32_t*>(to + 8 * kStride<DP>) = simt::pack_bf16(sums[j][2] * lower, sums[j][3] * lower);
  }
  __syncwarp();
  for (int i = lane; i < rows * (DP / 8); i += 32) {
    const int row = i / (DP / 8), d = i % (DP / 8) * 8;
    const bf16* from = shared + row * kStride<DP> + d;
    bf16* to = out.at(first + row, head) + d;
    if (out.vector && d + 8 <= D) { simt::store_vector(to, simt::load_vector<8>(from)); }
    else { for (int e = 0; e < 8 && d + e < D; ++e) { to[e] = from[e]; } }
  }
}

template <int kColumns> using Sums = float[kColumns / 8][4];  // of a warp: 16 rows, kColumns columns; [c][e] is in row lane / 4 + e / 2 * 8
__device__ __forceinline__ int column_of(int c, int e) { return c * 8 + int(threadIdx.x) % 4 * 2 + e % 2; }
__device__ __forceinline__ int within(int columns, int most) { return max(0, min(columns, most)); }

// sums (16, kColumns) += own (16, DP) other (kColumns, DP)^T, both in shared memory; only the 16s of columns that begin below `columns`.
template <int kColumns, int DP>
__device__ __forceinline__ void multiply_rows(Sums<kColumns>& sums, const bf16* own, const bf16* other, int columns) {
  SIMT_UNROLL
  for (int k = 0; k < DP; k += 16) {
    simt::Fragment a, b;
    simt::load_a(a, own, kStride<DP>, 0, k);
    SIMT_UNROLL
    for (int j = 0; j < kColumns / 16; ++j) {
      if (j * 16 >= columns) { break; }
      simt::load_b(b, other, kStride<DP>, j * 16, k);
      simt::multiply_pair(sums[2 * j], sums[2 * j + 1], a, b);
    }
  }
}
// sums (16, DP) += weights (16, kColumns), rounded to bf16, times other (kColumns, DP); columns as above.
template <int kColumns, int DP>
__device__ __forceinline__ void add_weighted(Sums<DP>& sums, const Sums<kColumns>& weights, const bf16* other, int columns) {
  SIMT_UNROLL
  for (int j = 0; j < kColumns / 16; ++j) {
    if (j * 16 >= columns) { break; }
    simt::Fragment a, b;
    simt::as_a(a, weights[2 * j], weights[2 * j + 1]);
    SIMT_UNROLL
    for (int d = 0; d < DP / 16; ++d) {
      simt::load_b_transposed(b, other, kStride<DP>, d * 16, j * 16);
      simt::multiply_pair(sums[2 * d], sums[2 * d + 1], a, b);
    }
  }
}

// The maximum and the sum of each of a thread's two rows so far. Scores are in units of log 2, so that exponentials are exp2.
struct Softmax {
  float top[2] = {-__FLT_MAX__, -__FLT_MAX__}, sum[2] = {};  // finite: exp2(top - top) is 1 for a row that sees nothing of a tile

  // Scores become exponentials; `out`, summed with those of earlier tiles, is rescaled to the new maximum.
  template <int kColumns, int DP> __device__ __forceinline__ void step(Sums<kColumns>& scores, Sums<DP>& out) {
    SIMT_UNROLL
    for (int h = 0; h < 2; ++h) {
      const float before = top[h];
      float most = before;
      SIMT_UNROLL
      for (int j = 0; j < kColumns / 8; ++j) { most = simt::Max()(simt::Max()(most, scores[j][2 * h]), scores[j][2 * h + 1]); }
      most = simt::Max()(most, __shfl_xor_sync(~0u, most, 1));  // four lanes hold a row
      most = simt::Max()(most, __shfl_xor_sync(~0u, most, 2));
      const float keep = exp2f(before - most);
      float added = 0;
      SIMT_UNROLL
      for (int j = 0; j < kColumns / 8; ++j) {
        SIMT_UNROLL
        for (int e = 2 * h; e < 2 * h + 2; ++e) { added += scores[j][e] = exp2f(scores[j][e] - most); }
      }
      top[h] = most;
      sum[h] = sum[h] * keep + added;
      SIMT_UNROLL
      for (int d = 0; d < DP / 8; ++d) {
        out[d][2 * h] *= keep;
        out[d][2 * h + 1] *= keep;
      }
    }
  }
  __device__ __forceinline__ void finish() {
    SIMT_UNROLL
    for (int h = 0; h < 2; ++h) {
      sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
      sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
    }
  }
};

// A warp's 16 rows of one side from `row` on against the tile of the other side that begins at j: set(c, e) for each of a thread's scores [c][e] whose
// rows do not meet. A tile that all 16 meet as a whole, as most are, costs no more than finding that out.
template <int kColumns, bool kOwnsKeys, class F>
__device__ __forceinline__ void each_unmet(const Sequence& n, const AttentionShape& s, int row, int j, int end, const F& set) {
  if (n.meets<kOwnsKeys>(row + 15, s).from <= j && j + kColumns <= min(end, n.meets<kOwnsKeys>(row, s).to)) { return; }
  SIMT_UNROLL
  for (int h = 0; h < 2; ++h) {
    const Range met = n.meets<kOwnsKeys>(row + int(threadIdx.x) % 32 / 4 + h * 8, s);
    const int from = met.from - j, to = min(end, met.to) - j;
    SIMT_UNROLL
    for (int c = 0; c < kColumns / 8; ++c) {
      SIMT_UNROLL
      for (int e = 2 * h; e < 2 * h + 2; ++e) {
        if (column_of(c, e) < from || column_of(c, e) >= to) { set(c, e); }
      }
    }
  }
}

// A warp's 16 queries from `row` on against keys [j, min(j + kKeys, end)) in shared memory.
template <int kKeys, int DP>
__device__ __forceinline__ void attend(Softmax& softmax, Sums<DP>& sums, const bf16* q, const bf16* k, const bf16* v, const Sequence& n,
                                       const AttentionShape& s, int row, int j, int end) {
  Sums<kKeys> scores = {};
  multiply_rows<kKeys, DP>(scores, q, k, end - j);
  SIMT_UNROLL
  for (int c = 0; c < kKeys / 8; ++c) {
    SIMT_UNROLL
    for (int e = 0; e < 4; ++e) { scores[c][e] *= s.scale * kLog2E; }
  }
  each_unmet<kKeys, false>(n, s, row, j, end, [&](int c, int e) { scores[c][e] = -INFINITY; });
  softmax.template step<kKeys, DP>(scores, sums);
  add_weighted<kKeys, DP>(sums, scores, v, end - j);
}

// out and lse of a warp's queries [first, first + rows); `shared` is where its own q lay.
template <int DP>
__device__ __forceinline__ void finish(Softmax& softmax, const Sums<DP>& sums, bf16* shared, const AttentionShape& s, const Heads<bf16>& out,
                                       float* lse, int first, int rows, int head) {
  const int lane = int(threadIdx.x) & 31;
  softmax.finish();
  store_rows<DP>(shared, sums, 1 / softmax.sum[0], 1 / softmax.sum[1], out, first, rows, head, s.D);
  SIMT_UNROLL
  for (int h = 0; h < 2; ++h) {
    const int at = lane / 4 + h * 8;
    if (lane % 4 == 0 && at < rows) { lse[int64_t(first + at) * s.heads + head] = softmax.top[h] * kLn2 + logf(softmax.sum[h]); }
  }
}

template <int DP> inline constexpr int kTileKeys = DP <= 96 ? 64 : 32;  // scores and sums of wide heads fit in 255 registers
template <int DP> inline constexpr size_t kForwardBytes = sizeof(bf16) * size_t(kOwn + 4 * kTileKeys<DP>) * kStride<DP>;

// The long form: out, lse of 64 queries of a head. 4 keys D FLOP per query; K and V are read once per 64 queries, by
// neighbouring blocks and so from L2.
template <int DP>
__global__ void __launch_bounds__(kThreads, 2)
forward(AttentionShape s, Heads<bf16> out, float* lse, Heads<const bf16> q, Heads<const bf16> k, Heads<const bf16> v, const int32_t* q_offsets,
        const int32_t* k_offsets) {
  constexpr int kKeys = kTileKeys<DP>;
  SIMT_DYN_SHARED(bf16, shared);
  const Share own = share_of<kOwn, false>(s, q_offsets, k_offsets);
  if (own.rows == 0) { return; }
  const Sequence& n = own.sequence;
  const int warp = int(threadIdx.x) >> 5, rows = within(own.rows - warp * 16, 16), kv_head = own.head / s.group;
  bf16 *sq = shared, *ring = sq + kOwn * kStride<DP>, *warp_q = sq + warp * 16 * kStride<DP>;
  const Range keys = n.meets<false>(own.start, own.rows, s);
  auto fill = [&](int j, int buffer) {
    bf16* stage = ring + buffer * (2 * kKeys * kStride<DP>);
    load_rows<kKeys, DP>(stage, k, n.key + j, keys.to - j, kv_head, s.D);
    load_rows<kKeys, DP>(stage + kKeys * kStride<DP>, v, n.key + j, keys.to - j, kv_head, s.D);
  };
  load_rows<kOwn, DP>(sq, q, n.query + own.start, own.rows, own.head, s.D);
  fill(keys.from, 0);
  simt::cp_async_commit();
  Softmax softmax;
  Sums<DP> sums = {};
  int buffer = 0;
  for (int j = keys.from; j < keys.to; j += kKeys, buffer ^= 1) {
    simt::cp_async_wait<0>();
    __syncthreads();  // this tile has arrived for everyone, and everyone is done with the buffer that is filled next
    if (j + kKeys < keys.to) { fill(j + kKeys, buffer ^ 1); }
    simt::cp_async_commit();
    if (rows == 0) { continue; }
    const bf16* stage = ring + buffer * (2 * kKeys * kStride<DP>);
    attend<kKeys, DP>(softmax, sums, warp_q, stage, stage + kKeys * kStride<DP>, n, s, own.start + warp * 16, j, keys.to);
  }
  if (rows > 0) { finish<DP>(softmax, sums, warp_q, s, out, lse, n.query + own.start + warp * 16, rows, own.head); }
}

// The short form holds this many rows of the other side: 257 tokens are a 16 x 16 grid of patches and a class token.
template <int DP> inline constexpr int kResident = DP <= 96 ? 272 : 208;
template <int DP> inline constexpr size_t kShortForwardBytes = sizeof(bf16) * size_t(kOwn + 2 * kResident<DP>) * kStride<DP>;
__device__ __forceinline__ int padded16(int n) { return (n + 15) / 16 * 16; }

// The short form: out, lse of up to kResident queries of a head, 64 at a time. K and V are read once if they fit, otherwise once per 64 queries; a
// warp goes through those that some of its 16 queries see, from a multiple of 16.
template <int DP>
__global__ void __launch_bounds__(kThreads, DP <= 32 ? 4 : 2)  // as many blocks as shared memory has room for
short_forward(AttentionShape s, Heads<bf16> out, float* lse, Heads<const bf16> q, Heads<const bf16> k, Heads<const bf16> v, const int32_t* q_offsets,
              const int32_t* k_offsets) {
  constexpr int kKeys = kTileKeys<DP>, kMost = kResident<DP>;
  SIMT_DYN_SHARED(bf16, shared);
  const Share own = share_of<kMost, false>(s, q_offsets, k_offsets);
  if (own.rows == 0) { return; }
  const Sequence& n = own.sequence;
  const int lane = int(threadIdx.x) & 31, warp = int(threadIdx.x) >> 5, kv_head = own.head / s.group;
  bf16 *warp_q = shared + warp * 16 * kStride<DP>, *sk = shared + kOwn * kStride<DP>, *sv = sk + kMost * kStride<DP>;
  const Range all = n.meets<false>(own.start, own.rows, s);
  const bool fits = all.to - all.from <= kMost;
  for (int group = 0; group < own.rows; group += kOwn) {
    const int start = own.start + group + warp * 16, rows = within(own.rows - group - warp * 16, 16);
    const int end = n.meets<false>(own.start + group, min(kOwn, own.rows - group), s).to;
    load_rows<DP>(warp_q, q, n.query + start, rows, 16, own.head, s.D, lane, 32);
    Softmax softmax;
    Sums<DP> sums = {};
    for (int first = all.from; first < end; first += kMost) {
      if (!fits) { __syncthreads(); }  // everyone is done with the keys before these
      if (!fits || group == 0) {
        const int count = min(all.to - first, kMost);
        load_rows<DP>(sk, k, n.key + first, count, padded16(count), kv_head, s.D, int(threadIdx.x), kThreads);
        load_rows<DP>(sv, v, n.key + first, count, padded16(count), kv_head, s.D, int(threadIdx.x), kThreads);
        simt::cp_async_commit();
        simt::cp_async_wait<0>();
        __syncthreads();
      } else {
        simt::cp_async_commit();
        simt::cp_async_wait<0>();
        __syncwarp();
      }
      if (rows == 0) { continue; }
      const Range keys = n.meets<false>(start, rows, s);
      const int here = min(keys.to - first, kMost);
      for (int j = max(0, keys.from - first) / 16 * 16; j < here; j += kKeys) {
        attend<kKeys, DP>(softmax, sums, warp_q, sk + j * kStride<DP>, sv + j * kStride<DP>, n, s, start, first + j, first + here);
      }
    }
    if (rows > 0) { finish<DP>(softmax, sums, warp_q, s, out, lse, n.query + start, rows, own.head); }
    __syncwarp();  // the rows of the next group go where these lay
  }
}

}  // namespace pumice::cuda::mma
