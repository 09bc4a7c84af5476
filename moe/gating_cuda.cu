// The router on CUDA: a warp per token. Traffic: forward reads the logits (and noise) once and writes each output once, backward reads probs and
// dprobs and writes dlogits once. Softmax, choices and gates come from registers; probabilities are recomputed from logits, not kept.
#include "pumice/moe/gating_kernels.h"
#include "pumice/moe/router_rows_cuda.h"

namespace pumice::cuda {
namespace {

// softmax(z)_c = exp(z_c - top) * inverse. Equal logits get equal bits.
struct Softmax {
  float top, inverse, lse;

  template <class Team> static __device__ __forceinline__ Softmax of(const simt::Row<float, Team>& z, int64_t E) {
    Softmax s{-INFINITY, 0, 0};
    simt::each_column(E, [&](int64_t, float v) { s.top = simt::Max()(s.top, v); }, z);
    s.top = simt::warp_reduce(s.top, simt::Max());
    const float sum = simt::row_sum(E, [&](int64_t, float v) { return expf(v - s.top); }, z);
    s.inverse = 1 / sum;
    s.lse = s.top + logf(sum);
    return s;
  }
  __device__ __forceinline__ float operator()(float z) const { return expf(z - top) * inverse; }
};

// A number that is the larger, the larger the score, and among equal scores the lower the expert. NaN is below everything.
__device__ __forceinline__ uint64_t ranked(float score, int64_t expert) {
  const int bits = __float_as_int(score == score ? score + 0.0f : -INFINITY);  // + 0: -0 and 0 are equal
  const uint32_t order = bits < 0 ? ~uint32_t(bits) : uint32_t(bits) | 0x80000000u;
  return uint64_t(order) << 32 | (0xffffffffu - uint32_t(expert));
}

// The best expert that is not in taken[0 .. count) by score(c, z_c). Always an expert, NaN or not. Every lane gets it.
template <class Team, class F>
__device__ __forceinline__ int32_t best_expert(const simt::Row<float, Team>& z, int64_t E, const int32_t* taken, int64_t count, const F& score) {
  uint64_t best = 0;
  simt::each_column(E, [&](int64_t c, float v) {
    bool free = true;
    for (int64_t k = 0; k < count; ++k) { free &= taken[k] != c; }
    const uint64_t rank = ranked(score(c, v), c);
    if (free && rank > best) { best = rank; }
  }, z);
  return int32_t(0xffffffffu - uint32_t(simt::warp_reduce(best, simt::Max())));
}

// Without noise, noisy, clean and noisy_lse are null. A minimum of one block per multiprocessor keeps ptxas from spilling to fit more of them.
template <class Team> __global__ void __launch_bounds__(Team::kBlock, 1)
gating_rows(float* noisy, float* clean, float* lse, float* noisy_lse, float* probs, int32_t* expert_out, float* gate, const float* logits,
            const float* noise, const float* gumbel, int64_t tokens, int64_t E, int64_t K) {
  const int64_t t = Team::number();
  if (t >= tokens) { return; }
  const int lane = threadIdx.x % 32;
  logits += t * E;
  if (noise) {
    noise += t * E;
    const simt::Row<float, Team> without(logits, E);
    const Softmax softmax = Softmax::of(without, E);
    if (lane == 0) { lse[t] = softmax.lse; }
    simt::row_store(clean + t * E, E, [&](int64_t, float v) { return softmax(v); }, without);
    simt::row_store(noisy + t * E, E, [&](int64_t c, float v) { return v + noise[c]; }, without);
  }
  const simt::Row<float, Team> z(noise ? noisy + t * E : logits, E);  // each lane reads back what it wrote
  const Softmax softmax = Softmax::of(z, E);
  if (lane == 0) { (noise ? noisy_lse : lse)[t] = softmax.lse; }
  simt::row_store(probs + t * E, E, [&](int64_t, float v) { return softmax(v); }, z);

  int32_t* expert = expert_out + t * K;
  for (int64_t k = 0; k < K; ++k) {
    const float* extra = k == 1 && gumbel ? gumbel + t * E : nullptr;
    const int32_t best = best_expert(z, E, expert, k, [&](int64_t c, float v) { return extra ? v + extra[c] : softmax(v); });
    if (lane == 0) {
      expert[k] = best;
      gate[t * K + k] = softmax(noise ? logits[best] + noise[best] : logits[best]);
    }
    __syncwarp();  // the next choice reads expert[k]
  }
}

template <class Team> __global__ void __launch_bounds__(Team::kBlock)
gating_rows_bwd(float* dlogits, const float* dprobs, const float* dgate, const float* probs, const int32_t* expert, int64_t tokens, int64_t E,
                int64_t K) {
  const int64_t t = Team::number();
  if (t >= tokens) { return; }
  const simt::Row<float, Team> p(probs + t * E, E);
  const auto dp = [=](int64_t c) {
    float d = dprobs ? dprobs[t * E + c] : 0.0f;
    for (int64_t k = 0; dgate && k < K; ++k) { d += expert[t * K + k] == c ? dgate[t * K + k] : 0.0f; }
    return d;
  };
  const float dot = simt::row_sum(E, [&](int64_t c, float v) { return dp(c) * v; }, p);
  simt::row_store(dlogits + t * E, E, [&](int64_t c, float v) { return v * (dp(c) - dot); }, p);
}

// ---- gates over the sum of a token's kept gates: a thread per token ----
constexpr int kBlock = 256;

__device__ __forceinline__ float kept_sum(const float* gate, const int32_t* row, int64_t K) {
  float sum = 0;
  for (int64_t k = 0; k < K; ++k) { sum += row[k] >= 0 ? gate[k] : 0.0f; }
  return sum > __FLT_EPSILON__ ? sum : __FLT_EPSILON__;  // DeepSpeed's floor
}

__global__ void __launch_bounds__(kBlock) renormalise(float* y, const float* gate, const int32_t* row, int64_t tokens, int64_t K) {
  const int64_t t = int64_t(blockIdx.x) * kBlock + threadIdx.x, at = t * K;
  if (t >= tokens) { return; }
  const float sum = kept_sum(gate + at, row + at, K);
  for (int64_t k = at; k < at + K; ++k) { y[k] = row[k] >= 0 ? gate[k] / sum : 0.0f; }
}

__global__ void __launch_bounds__(kBlock)
renormalise_bwd(float* dgate, const float* dy, const float* y, const float* gate, const int32_t* row, int64_t tokens, int64_t K) {
  const int64_t t = int64_t(blockIdx.x) * kBlock + threadIdx.x, at = t * K;
  if (t >= tokens) { return; }
  const float sum = kept_sum(gate + at, row + at, K);
  float dot = 0;
  for (int64_t k = at; k < at + K; ++k) { dot += dy[k] * y[k]; }  // y is 0 for dropped choices
  for (int64_t k = at; k < at + K; ++k) { dgate[k] = row[k] >= 0 ? (dy[k] - dot) / sum : 0.0f; }
}

}  // namespace

void gating_fwd(const GatingFwd& a) {
  if (!a.tokens) { return; }
  simt::with_expert_team(a.logits.dtype, a.experts, [&]<class Team>() {
    simt::launch<gating_rows<Team>>(Team::cover(a.tokens), a.noisy.as<float>(), a.clean.as<float>(), a.lse.as<float>(), a.noisy_lse.as<float>(),
                                    a.probs.as<float>(), a.expert.as<int32_t>(), a.gate.as<float>(), a.logits.as<float>(), a.noise.as<float>(),
                                    a.gumbel.as<float>(), a.tokens, a.experts, a.per_token);
  });
}

void gating_bwd(const GatingBwd& a) {
  if (!a.tokens) { return; }
  simt::with_expert_team(a.probs.dtype, a.experts, [&]<class Team>() {
    simt::launch<gating_rows_bwd<Team>>(Team::cover(a.tokens), a.dlogits.as<float>(), a.dprobs.as<float>(), a.dgate.as<float>(), a.probs.as<float>(),
                                        a.expert.as<int32_t>(), a.tokens, a.experts, a.per_token);
  });
}

void renormalise_kept_fwd(const RenormaliseFwd& a) {
  if (!a.tokens) { return; }
  simt::require_f32(a.gate.dtype);
  simt::launch<renormalise>({.grid = simt::blocks_for(a.tokens, kBlock), .block = kBlock}, a.y.as<float>(), a.gate.as<float>(), a.row.as<int32_t>(),
                            a.tokens, a.per_token);
}

void renormalise_kept_bwd(const RenormaliseBwd& a) {
  if (!a.tokens) { return; }
  simt::require_f32(a.gate.dtype);
  simt::launch<renormalise_bwd>({.grid = simt::blocks_for(a.tokens, kBlock), .block = kBlock}, a.dgate.as<float>(), a.dy.as<float>(), a.y.as<float>(),
                                a.gate.as<float>(), a.row.as<int32_t>(), a.tokens, a.per_token);
}

}  // namespace pumice::cuda
