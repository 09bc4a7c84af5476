// The router on CUDA: a warp per token. Traffic: forward reads the logits (and noise) once and writes each output once, backward reads probs and
// dprobs and writes dlogits once. Softmax, choices and gates come from registers; probabilities are recomputed from logits, not kept. What a token has a
// few numbers of (choices, gates, log-sum-exps) goes through shared memory, so that the eight tokens of a block move whole sectors.
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

constexpr int kTokens = 8, kRouterBlock = 32 * kTokens;

// logits + noise, which go to memory too; rows too long for registers are read back from there, each lane what it wrote.
template <class Team>
__device__ __forceinline__ simt::Row<float, Team> add_noise(const simt::Row<float, Team>& logits, const float* noise, float* noisy, int64_t E) {
  static_assert(Team::kVector == 1);
  simt::Row<float, Team> z = logits;
  z.from = noisy;
  Team::each(E, [&](int k, int64_t c) {
    const float v = logits.at(k, c).v[0] + noise[c];
    noisy[c] = v;
    if constexpr (Team::kHeld) { z.held[k].v[0] = v; }
  });
  return z;
}

size_t shared_bytes(int64_t K) { return sizeof(float) * size_t(kTokens * (2 * K + 2)); }
simt::Launch cover(int64_t tokens, int64_t K) {
  return {.grid = simt::blocks_for(tokens, kTokens, INT32_MAX), .block = kRouterBlock, .smem = shared_bytes(K)};
}

// Without noise, noisy, clean and noisy_lse are null. A minimum of one block per multiprocessor keeps ptxas from spilling to fit more of them.
// Shared memory: shared_bytes(K).
template <class Team> __global__ void __launch_bounds__(kRouterBlock, 1)
gating_rows(float* noisy, float* clean, float* lse, float* noisy_lse, float* probs, int32_t* expert_out, float* gate_out, const float* logits,
            const float* noise, const float* gumbel, int64_t tokens, int64_t E, int64_t K) {
  SIMT_DYN_SHARED(float, shared);
  float *gates = shared, *lses = gates + kTokens * K, *noisy_lses = lses + kTokens;
  int32_t* experts = reinterpret_cast<int32_t*>(noisy_lses + kTokens);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t first = int64_t(blockIdx.x) * kTokens, t = first + warp, count = min(tokens - first, int64_t(kTokens));
  if (t < tokens) {
    simt::Row<float, Team> z(logits + t * E, E);
    Softmax softmax = Softmax::of(z, E);
    if (lane == 0) { lses[warp] = softmax.lse; }
    if (noise) {
      simt::row_store(clean + t * E, E, [&](int64_t, float v) { return softmax(v); }, z);
      z = add_noise(z, noise + t * E, noisy + t * E, E);
      softmax = Softmax::of(z, E);
      if (lane == 0) { noisy_lses[warp] = softmax.lse; }
    }
    simt::row_store(probs + t * E, E, [&](int64_t, float v) { return softmax(v); }, z);

    int32_t* expert = experts + warp * K;
    for (int64_t k = 0; k < K; ++k) {
      const float* extra = k == 1 && gumbel ? gumbel + t * E : nullptr;
      const int32_t best = best_expert(z, E, expert, k, [&](int64_t c, float v) { return extra ? v + extra[c] : softmax(v); });
      Team::each(E, [&](int n, int64_t c) {
        if (c == best) { gates[warp * K + k] = softmax(z.at(n, c).v[0]); }
      });
      if (lane == 0) { expert[k] = best; }
      __syncwarp();  // the next choice reads expert[k]
    }
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < count * K; i += kRouterBlock) {
    expert_out[first * K + i] = experts[i];
    gate_out[first * K + i] = gates[i];
  }
  if (threadIdx.x < count) {
    lse[first + threadIdx.x] = lses[threadIdx.x];
    if (noise) { noisy_lse[first + threadIdx.x] = noisy_lses[threadIdx.x]; }
  }
}

// Shared memory: shared_bytes(K).
template <class Team> __global__ void __launch_bounds__(kRouterBlock)
gating_rows_bwd(float* dlogits, const float* dprobs, const float* dgate, const float* probs, const int32_t* expert_in, int64_t tokens, int64_t E,
                int64_t K) {
  SIMT_DYN_SHARED(float, shared);
  float* dgates = shared;
  int32_t* experts = reinterpret_cast<int32_t*>(dgates + kTokens * K);
  const int warp = threadIdx.x / 32;
  const int64_t first = int64_t(blockIdx.x) * kTokens, t = first + warp, count = min(tokens - first, int64_t(kTokens));
  for (int64_t i = threadIdx.x; dgate && i < count * K; i += kRouterBlock) {
    dgates[i] = dgate[first * K + i];
    experts[i] = expert_in[first * K + i];
  }
  __syncthreads();
  if (t >= tokens) { return; }
  const simt::Row<float, Team> p(probs + t * E, E);
  const auto dp_from_memory = [=](int64_t c) {
    float d = dprobs ? dprobs[t * E + c] : 0.0f;
    for (int64_t k = 0; dgate && k < K; ++k) { d += experts[warp * K + k] == c ? dgates[warp * K + k] : 0.0f; }
    return d;
  };
  float held[Team::kVectors] = {}, dot = 0;
  Team::each(E, [&](int n, int64_t c) {
    const float d = dp_from_memory(c);
    if constexpr (Team::kHeld) { held[n] = d; }
    dot += d * p.at(n, c).v[0];
  });
  dot = simt::warp_reduce(dot, simt::Sum());
  Team::each(E, [&](int n, int64_t c) {
    float d;
    if constexpr (Team::kHeld) { d = held[n]; }
    else { d = dp_from_memory(c); }
    dlogits[t * E + c] = p.at(n, c).v[0] * (d - dot);
  });
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
    simt::launch<gating_rows<Team>>(cover(a.tokens, a.per_token), a.noisy.as<float>(), a.clean.as<float>(), a.lse.as<float>(), a.noisy_lse.as<float>(),
                                    a.probs.as<float>(), a.expert.as<int32_t>(), a.gate.as<float>(), a.logits.as<float>(), a.noise.as<float>(),
                                    a.gumbel.as<float>(), a.tokens, a.experts, a.per_token);
  });
}

void gating_bwd(const GatingBwd& a) {
  if (!a.tokens) { return; }
  simt::with_expert_team(a.probs.dtype, a.experts, [&]<class Team>() {
    simt::launch<gating_rows_bwd<Team>>(cover(a.tokens, a.per_token), a.dlogits.as<float>(), a.dprobs.as<float>(), a.dgate.as<float>(),
                                        a.probs.as<float>(), a.expert.as<int32_t>(), a.tokens, a.experts, a.per_token);
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
