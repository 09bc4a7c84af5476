// CPU kernels of the router. Forward, sixteen tokens side by side: what they have for one expert are neighbours, (E, kTokens), so that every loop over tokens
// is one over vectors, however few experts there are.
#include "pumice/moe/gating_kernels.h"
#include "pumice/moe/router_dtype.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int64_t kTokens = 16;

// rows (n, E) to columns (E, kTokens), zeros for tokens that are not there, and back.
template <class T, class U> PUMICE_INLINE void turn(const U* rows, int64_t n, int64_t E, T* columns) {
  if (n < kTokens) { for (int64_t i = 0; i < E * kTokens; ++i) { columns[i] = 0; } }
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t e = 0; e < E; ++e) { columns[e * kTokens + j] = T(rows[j * E + e]); }
  }
}
template <class T> PUMICE_INLINE void turn_back(const T* columns, int64_t n, int64_t E, T* rows) {
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t e = 0; e < E; ++e) { rows[j * E + e] = columns[e * kTokens + j]; }
  }
}

template <class F> PUMICE_INLINE void for_tokens(const F& f) {
  PUMICE_NO_UNROLL
  for (int64_t j = 0; j < kTokens; ++j) { f(j); }
}

// p = softmax(z) of each token, lse = log(sum(exp(z))). Equal logits get equal bits.
template <class T> PUMICE_INLINE void softmax(const T* __restrict z, T* __restrict p, T* __restrict lse, int64_t E) {
  T top[kTokens], sum[kTokens] = {}, inverse[kTokens];
  for_tokens([&](int64_t j) { top[j] = z[j]; });
  for (int64_t e = 1; e < E; ++e) {
    for_tokens([&](int64_t j) { top[j] = max_of(top[j], z[e * kTokens + j]); });
  }
  for (int64_t e = 0; e < E; ++e) {
    for_tokens([&](int64_t j) {
      const T v = exp_of(z[e * kTokens + j] - top[j]);
      p[e * kTokens + j] = v;
      sum[j] += v;
    });
  }
  for_tokens([&](int64_t j) {
    inverse[j] = T(1) / sum[j];
    lse[j] = top[j] + log_of(sum[j]);
  });
  for (int64_t e = 0; e < E; ++e) {
    for_tokens([&](int64_t j) { p[e * kTokens + j] *= inverse[j]; });
  }
}

// best: the first index of each token's largest score among the experts that are not in taken (count, kTokens). Always an expert, NaN or not.
template <class T>
PUMICE_INLINE void best_experts(const T* __restrict score, int64_t E, const int32_t* __restrict taken, int64_t count, int32_t* __restrict best) {
  T top[kTokens] = {};
  for_tokens([&](int64_t j) { best[j] = -1; });
  for (int64_t e = 0; e < E; ++e) {
    int32_t free[kTokens];
    for_tokens([&](int64_t j) { free[j] = 1; });
    for (int64_t k = 0; k < count; ++k) {
      for_tokens([&](int64_t j) { free[j] &= taken[k * kTokens + j] != e; });
    }
    for_tokens([&](int64_t j) {
      const bool better = free[j] & ((best[j] < 0) | (score[e * kTokens + j] > top[j]));
      top[j] = better ? score[e * kTokens + j] : top[j];
      best[j] = better ? int32_t(e) : best[j];
    });
  }
}

template <class T> PUMICE_INLINE T kept_sum(const T* gate, const int32_t* row, int64_t K) {
  T sum = 0;
  for (int64_t k = 0; k < K; ++k) { sum += row[k] >= 0 ? gate[k] : T(0); }
  return sum > T(__FLT_EPSILON__) ? sum : T(__FLT_EPSILON__);  // DeepSpeed's floor
}

}  // namespace

void gating_fwd(const GatingFwd& a) {
  dispatch_router(a.logits.dtype, [&]<class T>() {
    const int64_t E = a.experts, K = a.per_token;
    const int64_t grain = (grain_for((16 + 2 * K) * E) + kTokens - 1) / kTokens * kTokens;
    parallel_for(a.tokens, grain, [&](int64_t begin, int64_t end) {
      T *z = scratch<T>(0, 3 * E * kTokens), *p = z + E * kTokens, *more = p + E * kTokens;
      int32_t* expert = scratch<int32_t>(1, K * kTokens);
      T lse[kTokens];
      for (int64_t t = begin; t < end; t += kTokens) {
        const int64_t n = end - t < kTokens ? end - t : kTokens, at = t * E;
        const auto put_lse = [&](const View& to) {
          for (int64_t j = 0; j < n; ++j) { to.as<T>()[t + j] = lse[j]; }
        };
        turn(a.logits.as<T>() + at, n, E, z);
        softmax(z, p, lse, E);
        put_lse(a.lse);
        if (a.noise) {
          turn_back(p, n, E, a.clean.as<T>() + at);
          turn(a.noise.as<float>() + at, n, E, more);
          for (int64_t i = 0; i < E * kTokens; ++i) { z[i] += more[i]; }
          turn_back(z, n, E, a.noisy.as<T>() + at);
          softmax(z, p, lse, E);
          put_lse(a.noisy_lse);
        }
        turn_back(p, n, E, a.probs.as<T>() + at);
        for (int64_t k = 0; k < K; ++k) {
          const T* score = p;
          if (k == 1 && a.gumbel) {
            turn(a.gumbel.as<float>() + at, n, E, more);
            for (int64_t i = 0; i < E * kTokens; ++i) { more[i] += z[i]; }
            score = more;
          }
          best_experts(score, E, expert, k, expert + k * kTokens);
          for (int64_t j = 0; j < n; ++j) {
            const int32_t e = expert[k * kTokens + j];
            a.expert.as<int32_t>()[(t + j) * K + k] = e;
            a.gate.as<T>()[(t + j) * K + k] = p[e * kTokens + j];
          }
        }
      }
    });
  });
}

void gating_bwd(const GatingBwd& a) {
  dispatch_router(a.probs.dtype, [&]<class T>() {
    const int64_t E = a.experts, K = a.per_token;
    parallel_for(a.tokens, grain_for(6 * E), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const T* p = a.probs.as<T>() + t * E;
        T* dz = a.dlogits.as<T>() + t * E;  // holds dp first
        for (int64_t e = 0; e < E; ++e) { dz[e] = a.dprobs ? a.dprobs.as<T>()[t * E + e] : T(0); }
        for (int64_t k = 0; a.dgate && k < K; ++k) { dz[a.expert.as<int32_t>()[t * K + k]] += a.dgate.as<T>()[t * K + k]; }
        T dot = lane_sum<T>(E, [&](int64_t e) { return dz[e] * p[e]; });
        for (int64_t e = 0; e < E; ++e) { dz[e] = p[e] * (dz[e] - dot); }
      }
    });
  });
}

void renormalise_kept_fwd(const RenormaliseFwd& a) {
  dispatch_router(a.gate.dtype, [&]<class T>() {
    const int64_t K = a.per_token;
    parallel_for(a.tokens, grain_for(4 * K), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const T* gate = a.gate.as<T>() + t * K;
        const int32_t* row = a.row.as<int32_t>() + t * K;
        T sum = kept_sum(gate, row, K);
        for (int64_t k = 0; k < K; ++k) { a.y.as<T>()[t * K + k] = row[k] >= 0 ? gate[k] / sum : T(0); }
      }
    });
  });
}

void renormalise_kept_bwd(const RenormaliseBwd& a) {
  dispatch_router(a.gate.dtype, [&]<class T>() {
    const int64_t K = a.per_token;
    parallel_for(a.tokens, grain_for(8 * K), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const T *gate = a.gate.as<T>() + t * K, *y = a.y.as<T>() + t * K, *dy = a.dy.as<T>() + t * K;
        const int32_t* row = a.row.as<int32_t>() + t * K;
        T sum = kept_sum(gate, row, K), dot = 0;
        for (int64_t k = 0; k < K; ++k) { dot += dy[k] * y[k]; }  // y is 0 for dropped choices
        for (int64_t k = 0; k < K; ++k) { a.dgate.as<T>()[t * K + k] = row[k] >= 0 ? (dy[k] - dot) / sum : T(0); }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
