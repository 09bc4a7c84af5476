// Attention forward: out_i = sum_j p_ij v_j, p_i = softmax_j(<q_i, k_j> / sqrt(D)), for N sequences of S tokens and H heads; q, k, v and out are (N S, H, D) in
// bf16, D = 64. S is a multiple of 64 here; the engine's kernels take sequences of any lengths, masks, windows and grouped heads.
//
// S^2 scores per head are computed from, and become, S D numbers. The ladder is about where the scores live: in memory, in registers, and at last in the
// registers in which tensor cores leave them and want them again.
#include <cmath>

#include "ladder.h"
#include "pumice/ops/attention/attention_kernels.h"
#include "pumice/tensor/simt/fragments.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::ladder {
namespace {

constexpr int D = 64;
constexpr float kScale = 0.125f;  // 1 / sqrt(D)

struct Shape3 {
  int S, H;
  // Where token i of sequence n begins for head h, and how far its next token is.
  __device__ __forceinline__ int64_t at(int n, int i, int h) const { return ((int64_t(n) * S + i) * H + h) * D; }
  __device__ __forceinline__ int64_t token() const { return int64_t(H) * D; }
};

__device__ __forceinline__ float dot(const float (&x)[D], const float* y) {
  float sum = 0;
  SIMT_UNROLL
  for (int d = 0; d < D; ++d) { sum += x[d] * y[d]; }
  return sum;
}
__device__ __forceinline__ void load_row(float (&x)[D], const bf16* from) {
  SIMT_UNROLL
  for (int d = 0; d < D; d += 8) {
    const auto v = simt::load_vector<8>(from + d);
    for (int e = 0; e < 8; ++e) { x[d + e] = float(v.v[e]); }
  }
}

// Three kernels, the formula as it stands: all scores, their softmax, the weighted sums. Scores (N, H, S, S) in f32 go to memory and back twice.
__global__ void __launch_bounds__(256) all_scores(float* scores, const bf16* q, const bf16* k, Shape3 s) {  // Grid (S / 32, S / 8, N H): a thread per score
  const int j = int(blockIdx.x) * 32 + int(threadIdx.x) % 32, i = int(blockIdx.y) * 8 + int(threadIdx.x) / 32;
  const int n = int(blockIdx.z) / s.H, h = int(blockIdx.z) % s.H;
  const bf16 *q_row = q + s.at(n, i, h), *k_row = k + s.at(n, j, h);
  float sum = 0;
  for (int d = 0; d < D; ++d) { sum += float(q_row[d]) * float(k_row[d]); }
  scores[(int64_t(blockIdx.z) * s.S + i) * s.S + j] = sum * kScale;
}
__global__ void __launch_bounds__(128) all_softmax(float* scores, Shape3 s) {  // Grid (S / 4, N H): a warp per row
  float* row = scores + (int64_t(blockIdx.y) * s.S + blockIdx.x * 4 + threadIdx.x / 32) * s.S;
  float top = -INFINITY, sum = 0;
  for (int j = int(threadIdx.x) % 32; j < s.S; j += 32) { top = fmaxf(top, row[j]); }
  top = simt::warp_reduce(top, simt::Max());
  for (int j = int(threadIdx.x) % 32; j < s.S; j += 32) { sum += row[j] = expf(row[j] - top); }
  sum = simt::warp_reduce(sum, simt::Sum());
  for (int j = int(threadIdx.x) % 32; j < s.S; j += 32) { row[j] /= sum; }
}
__global__ void __launch_bounds__(D) all_sums(bf16* out, const float* weights, const bf16* v, Shape3 s) {  // Grid (S, N H): a thread per d
  const int i = int(blockIdx.x), n = int(blockIdx.y) / s.H, h = int(blockIdx.y) % s.H, d = int(threadIdx.x);
  const float* row = weights + (int64_t(blockIdx.y) * s.S + i) * s.S;
  float sum = 0;
  for (int j = 0; j < s.S; ++j) { sum += row[j] * float(v[s.at(n, j, h) + d]); }
  out[s.at(n, i, h) + d] = bf16(sum);
}

// The softmax of scores that come one after the other (Milakov and Gimelshein 2018, arXiv:1805.02867): when a larger one comes, what was summed so far shrinks.
struct OnlineSoftmax {
  float top = -INFINITY, sum = 0, out[D] = {};
  __device__ __forceinline__ void add(float score, const float* v) {
    const float next = fmaxf(top, score), keep = expf(top - next), p = expf(score - next);
    SIMT_UNROLL
    for (int d = 0; d < D; ++d) { out[d] = out[d] * keep + p * v[d]; }
    sum = sum * keep + p;
    top = next;
  }
  __device__ __forceinline__ void store(bf16* to) const {
    SIMT_UNROLL
    for (int d = 0; d < D; d += 8) {
      simt::Vector<bf16, 8> v;
      for (int e = 0; e < 8; ++e) { v.v[e] = bf16(out[d + e] / sum); }
      simt::store_vector(to + d, v);
    }
  }
};

// A thread per query, its q and its sums in registers; a score lives for as long as it takes to use it. All lanes read the same key at the same time, but
// each warp reads all of K and V.   Grid (S / 64, N H), 64 threads.
__global__ void __launch_bounds__(64) query_per_thread(bf16* out, const bf16* q, const bf16* k, const bf16* v, Shape3 s) {
  const int i = int(blockIdx.x) * 64 + int(threadIdx.x), n = int(blockIdx.y) / s.H, h = int(blockIdx.y) % s.H;
  float own[D], row[D];
  load_row(own, q + s.at(n, i, h));
  OnlineSoftmax softmax;
  for (int j = 0; j < s.S; ++j) {
    load_row(row, k + s.at(n, j, h));
    const float score = dot(own, row) * kScale;
    load_row(row, v + s.at(n, j, h));
    softmax.add(score, row);
  }
  softmax.store(out + s.at(n, i, h));
}

// Tiles of 32 keys and values in shared memory, in f32 already: a block reads them once for its 64 queries.   Grid and block as before.
__global__ void __launch_bounds__(64) keys_in_shared_memory(bf16* out, const bf16* q, const bf16* k, const bf16* v, Shape3 s) {
  SIMT_SHARED(float, sk, [32][D]);
  SIMT_SHARED(float, sv, [32][D]);
  const int i = int(blockIdx.x) * 64 + int(threadIdx.x), n = int(blockIdx.y) / s.H, h = int(blockIdx.y) % s.H;
  float own[D];
  load_row(own, q + s.at(n, i, h));
  OnlineSoftmax softmax;
  for (int first = 0; first < s.S; first += 32) {
    for (int c = int(threadIdx.x) * 8; c < 32 * D; c += 64 * 8) {
      const int64_t from = s.at(n, first + c / D, h) + c % D;
      const auto key = simt::load_vector<8>(k + from), value = simt::load_vector<8>(v + from);
      for (int e = 0; e < 8; ++e) { sk[c / D][c % D + e] = float(key.v[e]), sv[c / D][c % D + e] = float(value.v[e]); }
    }
    __syncthreads();
    for (int j = 0; j < 32; ++j) { softmax.add(dot(own, sk[j]) * kScale, sv[j]); }
    __syncthreads();
  }
  softmax.store(out + s.at(n, i, h));
}

// Tensor cores (FlashAttention-2: Dao 2023, arXiv:2307.08691). A warp owns 16 queries: 16 x 64 scores at a time lie in the registers of its lanes as mma.sync
// leaves them, which is as the next mma.sync wants its left operand. The maximum moves once per 64 keys instead of once per key.
// Grid (S / 64, N H), four warps.
constexpr int kStride = D + 8;  // of rows in shared memory: ldmatrix finds eight of them in different banks
__device__ __forceinline__ void load_tile(bf16* to, const bf16* from, Shape3 s) {  // 64 rows of a head
  for (int c = int(threadIdx.x) * 8; c < 64 * D; c += 128 * 8) {
    simt::store_vector(to + c / D * kStride + c % D, simt::load_vector<8>(from + c / D * s.token() + c % D));
  }
}
__global__ void __launch_bounds__(128) tensor_cores(bf16* out, const bf16* q, const bf16* k, const bf16* v, Shape3 s) {
  SIMT_SHARED(bf16, sq, [64 * kStride]);
  SIMT_SHARED(bf16, sk, [64 * kStride]);
  SIMT_SHARED(bf16, sv, [64 * kStride]);
  const int n = int(blockIdx.y) / s.H, h = int(blockIdx.y) % s.H, first = int(blockIdx.x) * 64;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  float sums[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, sum[2] = {};  // a lane has two rows: lane / 4 and 8 further down
  load_tile(sq, q + s.at(n, first, h), s);
  for (int j = 0; j < s.S; j += 64) {
    load_tile(sk, k + s.at(n, j, h), s);
    load_tile(sv, v + s.at(n, j, h), s);
    __syncthreads();
    float scores[8][4] = {};
    simt::Fragment a, b;
    SIMT_UNROLL
    for (int d = 0; d < D; d += 16) {
      simt::load_a(a, sq, kStride, warp * 16, d);
      SIMT_UNROLL
      for (int c = 0; c < 4; ++c) {
        simt::load_b(b, sk, kStride, c * 16, d);
        simt::multiply_pair(scores[2 * c], scores[2 * c + 1], a, b);
      }
    }
    SIMT_UNROLL
    for (int r = 0; r < 2; ++r) {
      float most = top[r], added = 0;
      SIMT_UNROLL
      for (int c = 0; c < 8; ++c) { most = fmaxf(most, fmaxf(scores[c][2 * r], scores[c][2 * r + 1]) * kScale); }
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));  // four lanes share a row
      most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
      const float keep = expf(top[r] - most);
      SIMT_UNROLL
      for (int c = 0; c < 8; ++c) {
        SIMT_UNROLL
        for (int e = 2 * r; e < 2 * r + 2; ++e) { added += scores[c][e] = expf(scores[c][e] * kScale - most), sums[c][e] *= keep; }
      }
      sum[r] = sum[r] * keep + added;
      top[r] = most;
    }
    SIMT_UNROLL
    for (int c = 0; c < 4; ++c) {
      simt::as_a(a, scores[2 * c], scores[2 * c + 1]);
      SIMT_UNROLL
      for (int d = 0; d < 4; ++d) {
        simt::load_b_transposed(b, sv, kStride, d * 16, c * 16);
        simt::multiply_pair(sums[2 * d], sums[2 * d + 1], a, b);
      }
    }
    __syncthreads();
  }
  SIMT_UNROLL
  for (int r = 0; r < 2; ++r) {
    sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
    sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
    bf16* to = out + s.at(n, first + warp * 16 + lane / 4 + 8 * r, h) + lane % 4 * 2;
    SIMT_UNROLL
    for (int c = 0; c < D / 8; ++c) { *reinterpret_cast<uint32_t*>(to + c * 8) = simt::pack_bf16(sums[c][2 * r] / sum[r], sums[c][2 * r + 1] / sum[r]); }
  }
}

std::vector<double> reference_row(int64_t row, Shape3 s, const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v) {
  const int64_t h = row % s.H, i = row / s.H, first = i / s.S * s.S;  // row: of (N S H, D)
  const auto at = [&](int64_t token, int64_t d) { return size_t((token * s.H + h) * D + d); };
  std::vector<double> out(D), p;
  double top = -INFINITY, sum = 0;
  for (int64_t j = first; j < first + s.S; ++j) {
    double score = 0;
    for (int64_t d = 0; d < D; ++d) { score += double(q[at(i, d)]) * double(k[at(j, d)]); }
    p.push_back(score * kScale);
    top = std::max(top, p.back());
  }
  for (double& x : p) { sum += x = std::exp(x - top); }
  for (int64_t j = 0; j < s.S; ++j) {
    for (int64_t d = 0; d < D; ++d) { out[size_t(d)] += p[size_t(j)] / sum * double(v[at(first + j, d)]); }
  }
  return out;
}

}  // namespace

Ladder attention_bf16(bool large) {
  const int N = large ? 32 : 1, H = large ? 12 : 2, T_of_one = large ? 1024 : 128;
  const Shape3 s{T_of_one, H};
  const int64_t T = int64_t(N) * s.S;
  const Tensor q = values({T, H, D}, DType::bf16, 1), k = values({T, H, D}, DType::bf16, 2), v = values({T, H, D}, DType::bf16, 3), out = empty_like(q);
  Ladder l{.name = "attention bf16, " + std::to_string(N) + " x " + std::to_string(s.S) + " tokens, " + std::to_string(H) + " heads of 64",
           .bytes = 8.0 * double(q.size()), .flops = 4.0 * double(q.size()) * s.S, .multiplies = DType::bf16, .bound = 1e-2, .rows = T * H,
           .columns = D, .out = out};
  l.reference = [s, q = q.to_vector<float>(), k = k.to_vector<float>(), v = v.to_vector<float>()](int64_t row) { return reference_row(row, s, q, k, v); };
  const auto rung = [=]<auto kernel>(int threads) {
    return [=] {
      simt::launch<kernel>({.grid = {unsigned(s.S / 64), unsigned(N * H)}, .block = unsigned(threads)}, out.data<bf16>(), q.data<bf16>(), k.data<bf16>(),
                           v.data<bf16>(), s);
      return out;
    };
  };
  std::vector<int32_t> ends;
  for (int n = 0; n <= N; ++n) { ends.push_back(n * s.S); }
  const Tensor offsets = to_device(from_values<int32_t>({N + 1}, ends), Device::cuda());
  const Tensor scores = empty({N * H, s.S, s.S}, DType::f32, Device::cuda()), lse = empty({T, H}, DType::f32, Device::cuda());
  l.rungs = {
      {"three kernels", "all scores in memory, then their softmax, then the sums", [=] {
         const unsigned S = unsigned(s.S), heads = unsigned(N * H);
         simt::launch<all_scores>({.grid = {S / 32, S / 8, heads}, .block = 256}, scores.data<float>(), q.data<bf16>(), k.data<bf16>(), s);
         simt::launch<all_softmax>({.grid = {S / 4, heads}, .block = 128}, scores.data<float>(), s);
         simt::launch<all_sums>({.grid = {S, heads}, .block = D}, out.data<bf16>(), scores.data<float>(), v.data<bf16>(), s);
         return out;
       }},
      {"query per thread", "scores never leave registers: the softmax is kept up as they come", rung.template operator()<query_per_thread>(64)},
      {"keys in shared memory", "a block reads K and V once for 64 queries", rung.template operator()<keys_in_shared_memory>(64)},
      {"tensor cores", "16 queries per warp by mma.sync, scores in the registers of one product and of the next", rung.template operator()<tensor_cores>(128)},
      {"the engine", "up to 272 tokens: K and V stay in shared memory; beyond, tiles come by cp.async while others are multiplied: "
                     "ops/attention/attention_mma_cuda.h",
       [=] {
         attention_fwd(Device::cuda(), {out, lse, q, k, v, offsets, offsets, kScale, false, 0});
         return out;
       }},
  };
  return l;
}

}  // namespace pumice::ladder
