// CPU kernels of the router: one token at a time, its row of E numbers stays in the first-level cache.
#include "pumice/moe/gating_kernels.h"
#include "pumice/moe/router_dtype.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {
namespace {

// p = softmax(z); returns log(sum(exp(z))). Equal logits get equal bits.
template <class T> PUMICE_INLINE T softmax_row(const T* z, T* p, int64_t E) {
  T top = lane_max<T>(E, z[0], [&](int64_t e) { return z[e]; });
  for (int64_t e = 0; e < E; ++e) { p[e] = exp_of(z[e] - top); }
  T sum = lane_sum<T>(E, [&](int64_t e) { return p[e]; }), inverse = T(1) / sum;
  for (int64_t e = 0; e < E; ++e) { p[e] *= inverse; }
  return top + log_of(sum);
}

// The first index of the largest score(e) among the experts that are not in taken[0 .. count). Always an expert, NaN or not.
template <class F> PUMICE_INLINE int32_t best_expert(int64_t E, const int32_t* taken, int64_t count, const F& score) {
  int64_t best = -1;
  for (int64_t e = 0; e < E; ++e) {
    bool free = true;
    for (int64_t k = 0; k < count; ++k) { free &= taken[k] != e; }
    if (free && (best < 0 || score(e) > score(best))) { best = e; }
  }
  return int32_t(best);
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
    parallel_for(a.tokens, grain_for((16 + 2 * K) * E), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const T* z = a.logits.as<T>() + t * E;
        T* p = a.probs.as<T>() + t * E;
        if (a.noise) {
          const float* noise = a.noise.as<float>() + t * E;
          T* noisy = a.noisy.as<T>() + t * E;
          for (int64_t e = 0; e < E; ++e) { noisy[e] = z[e] + T(noise[e]); }
          a.lse.as<T>()[t] = softmax_row(z, a.clean.as<T>() + t * E, E);
          a.noisy_lse.as<T>()[t] = softmax_row<T>(noisy, p, E);
          z = noisy;
        } else {
          a.lse.as<T>()[t] = softmax_row(z, p, E);
        }
        int32_t* expert = a.expert.as<int32_t>() + t * K;
        for (int64_t k = 0; k < K; ++k) {
          if (k == 1 && a.gumbel) {
            const float* gumbel = a.gumbel.as<float>() + t * E;
            expert[k] = best_expert(E, expert, k, [&](int64_t e) { return z[e] + T(gumbel[e]); });
          } else {
            expert[k] = best_expert(E, expert, k, [&](int64_t e) { return p[e]; });
          }
          a.gate.as<T>()[t * K + k] = p[expert[k]];
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
