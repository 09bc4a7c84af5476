// CPU kernels of the auxiliary losses. Forward: segments in parallel, the tokens of a segment in order, sums in f64. Backward: tokens in
// parallel; tokens that do not count get zeros.
#include "pumice/moe/router_losses_kernels.h"
#include "pumice/moe/router_dtype.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {
namespace {

// f(token) for the tokens of segment n that count, in order.
template <class F> PUMICE_INLINE void for_tokens(const Segments& s, int64_t n, const F& f) {
  for (int64_t t = s.offsets.as<int64_t>()[n]; t < s.offsets.as<int64_t>()[n + 1]; ++t) {
    if (!s.modality || s.modality.as<uint8_t>()[t] == s.wanted) { f(t); }
  }
}

// loss = the weighted mean of value_of(n, tokens) over the segments that have tokens; value_of is not called for the others.
template <class T, class F> PUMICE_INLINE void mean_over_segments(const Segments& s, const View& loss, const View& value, const F& value_of) {
  const double *tokens = s.tokens.as<double>(), *share = s.share.as<double>();
  parallel_blocks(s.count, [&](int64_t n) { value.as<double>()[n] = share[n] > 0 ? share[n] * value_of(n, tokens[n]) : 0; });
  double sum = 0;
  for (int64_t n = 0; n < s.count; ++n) { sum += value.as<double>()[n]; }
  loss.as<T>()[0] = T(sum);
}

// f(n, token, row of dlogits) for every token that counts, zeros for the others.
template <class T, class F> PUMICE_INLINE void for_gradient_rows(const Segments& s, const View& dlogits, const F& f) {
  const int64_t E = s.experts;
  for (int64_t n = 0; n < s.count; ++n) {
    const int64_t first = s.offsets.as<int64_t>()[n];
    parallel_for(s.offsets.as<int64_t>()[n + 1] - first, grain_for(8 * E), [&](int64_t begin, int64_t end) {
      for (int64_t t = first + begin; t < first + end; ++t) {
        T* row = dlogits.as<T>() + t * E;
        if (!s.modality || s.modality.as<uint8_t>()[t] == s.wanted) {
          f(n, t, row);
        } else {
          for (int64_t e = 0; e < E; ++e) { row[e] = 0; }
        }
      }
    });
  }
}

// mean (E) = the mean of p over the tokens of segment n that count.
template <class T> PUMICE_INLINE void mean_probs(const MeanProbsLoss& a, int64_t n, double tokens, double* mean) {
  const int64_t E = a.segments.experts;
  for (int64_t e = 0; e < E; ++e) { mean[e] = 0; }
  for_tokens(a.segments, n, [&](int64_t t) {
    const T* p = a.p.as<T>() + t * E;
    for (int64_t e = 0; e < E; ++e) { mean[e] += double(p[e]); }
  });
  for (int64_t e = 0; e < E; ++e) { mean[e] /= tokens; }
}

// var(x) / mean(x)^2 of E numbers, population variance; their mean comes out too.
PUMICE_INLINE double squared_variation(const double* x, int64_t E, double& mean, double& variance) {
  mean = lane_sum<double>(E, [&](int64_t e) { return x[e]; }) / double(E);
  variance = lane_sum<double>(E, [&](int64_t e) { return (x[e] - mean) * (x[e] - mean); }) / double(E);
  return mean > 0 ? variance / (mean * mean) : 0;
}

}  // namespace

void importance_loss_fwd(const MeanProbsLoss& a) {
  dispatch_router(a.p.dtype, [&]<class T>() {
    const int64_t E = a.segments.experts;
    mean_over_segments<T>(a.segments, a.loss, a.value, [&](int64_t n, double tokens) {
      double *v = a.v.as<double>() + n * E, mean, variance;
      mean_probs<T>(a, n, tokens, v);
      a.c.as<double>()[n] = a.segments.share.as<double>()[n] * 2 * double(E) / tokens;
      return squared_variation(v, E, mean, variance);
    });
  });
}

void balance_loss_fwd(const MeanProbsLoss& a) {
  dispatch_router(a.p.dtype, [&]<class T>() {
    const int64_t E = a.segments.experts;
    mean_over_segments<T>(a.segments, a.loss, a.value, [&](int64_t n, double tokens) {
      double *f = a.v.as<double>() + n * E, dot = 0;
      for (int64_t e = 0; e < E; ++e) { f[e] = 0; }
      for_tokens(a.segments, n, [&](int64_t t) { f[a.expert.as<int32_t>()[t * a.per_token]] += 1 / tokens; });
      for_tokens(a.segments, n, [&](int64_t t) {
        const T* p = a.p.as<T>() + t * E;
        dot += lane_sum<double>(E, [&](int64_t e) { return f[e] * double(p[e]); });
      });
      a.c.as<double>()[n] = a.segments.share.as<double>()[n] * double(E) / tokens;
      return double(E) * dot / tokens;
    });
  });
}

void global_entropy_loss_fwd(const MeanProbsLoss& a) {
  dispatch_router(a.p.dtype, [&]<class T>() {
    const int64_t E = a.segments.experts;
    mean_over_segments<T>(a.segments, a.loss, a.value, [&](int64_t n, double tokens) {
      double *v = a.v.as<double>() + n * E, entropy = 0;
      mean_probs<T>(a, n, tokens, v);
      for (int64_t e = 0; e < E; ++e) {
        double log_p = log_of(v[e] > __DBL_MIN__ ? v[e] : __DBL_MIN__);  // 0 ln 0 = 0, and p_ie = 0 wherever the mean is
        entropy -= v[e] * log_p;
        v[e] = log_p;
      }
      bool below = entropy < a.threshold;
      a.c.as<double>()[n] = below ? a.segments.share.as<double>()[n] / tokens : 0;
      return below ? a.threshold - entropy : 0;
    });
  });
}

void mean_probs_loss_bwd(const MeanProbsLossBwd& a) {
  dispatch_router(a.p.dtype, [&]<class T>() {
    const int64_t E = a.segments.experts;
    const double dy = double(a.dy.as<T>()[0]);
    for_gradient_rows<T>(a.segments, a.dlogits, [&](int64_t n, int64_t t, T* dlogits) {
      const T* p = a.p.as<T>() + t * E;
      const double *v = a.v.as<double>() + n * E, scale = dy * a.c.as<double>()[n];
      double dot = lane_sum<double>(E, [&](int64_t e) { return double(p[e]) * v[e]; });
      for (int64_t e = 0; e < E; ++e) { dlogits[e] = T(scale * double(p[e]) * (v[e] - dot)); }
    });
  });
}

void load_loss_fwd(const LoadLoss& a) {
  dispatch_router(a.logits.dtype, [&]<class T>() {
    const int64_t E = a.segments.experts, K = a.per_token;
    const T over_sigma_sqrt2 = T(0.70710678118654752440 / a.sigma);
    mean_over_segments<T>(a.segments, a.loss, a.value, [&](int64_t n, double tokens) {
      double *load = a.g.as<double>() + n * E, mean, variance;
      for (int64_t e = 0; e < E; ++e) { load[e] = 0; }
      for_tokens(a.segments, n, [&](int64_t t) {
        const T *z = a.logits.as<T>() + t * E, threshold = a.noisy.as<T>()[t * E + a.expert.as<int32_t>()[t * K + K - 1]];
        for (int64_t e = 0; e < E; ++e) { load[e] += double(T(0.5) * (T(1) - erf_of((threshold - z[e]) * over_sigma_sqrt2))); }
      });
      for (int64_t e = 0; e < E; ++e) { load[e] /= tokens; }
      double loss = squared_variation(load, E, mean, variance);
      for (int64_t e = 0; e < E; ++e) {  // g
        load[e] = mean > 0 ? 2 * (load[e] - mean) / (double(E) * mean * mean) - 2 * variance / (double(E) * mean * mean * mean) : 0;
      }
      a.c.as<double>()[n] = a.segments.share.as<double>()[n] / (tokens * a.sigma);
      return loss;
    });
  });
}

void load_loss_bwd(const LoadLossBwd& a) {
  dispatch_router(a.logits.dtype, [&]<class T>() {
    const int64_t E = a.segments.experts, K = a.per_token;
    const double dy = double(a.dy.as<T>()[0]);
    for_gradient_rows<T>(a.segments, a.dlogits, [&](int64_t n, int64_t t, T* dlogits) {
      const T* z = a.logits.as<T>() + t * E;
      const int32_t kth = a.expert.as<int32_t>()[t * K + K - 1];
      const T threshold = a.noisy.as<T>()[t * E + kth], over_sigma = T(1 / a.sigma);
      const double* g = a.g.as<double>() + n * E;
      const T scale = T(dy * a.c.as<double>()[n] * 0.39894228040143267794);  // 1 / sqrt(2 pi)
      for (int64_t e = 0; e < E; ++e) {
        T distance = (threshold - z[e]) * over_sigma;
        dlogits[e] = scale * exp_of(T(-0.5) * distance * distance) * T(g[e]);
      }
      dlogits[kth] -= lane_sum<T>(E, [&](int64_t e) { return dlogits[e]; });
    });
  });
}

void z_loss_fwd(const ZLoss& a) {
  dispatch_router(a.lse.dtype, [&]<class T>() {
    mean_over_segments<T>(a.segments, a.loss, a.value, [&](int64_t n, double tokens) {
      double sum = 0;
      for_tokens(a.segments, n, [&](int64_t t) { sum += double(a.lse.as<T>()[t]) * double(a.lse.as<T>()[t]); });
      return sum / tokens;
    });
  });
}

void z_loss_bwd(const ZLossBwd& a) {
  dispatch_router(a.p.dtype, [&]<class T>() {
    const int64_t E = a.segments.experts;
    const double dy = double(a.dy.as<T>()[0]);
    for_gradient_rows<T>(a.segments, a.dlogits, [&](int64_t n, int64_t t, T* dlogits) {
      const T* p = a.p.as<T>() + t * E;
      const T scale = T(dy * 2 * a.segments.share.as<double>()[n] / a.segments.tokens.as<double>()[n]) * a.lse.as<T>()[t];
      for (int64_t e = 0; e < E; ++e) { dlogits[e] = scale * p[e]; }
    });
  });
}

void local_entropy_loss_fwd(const LocalEntropyLoss& a) {
  dispatch_router(a.p.dtype, [&]<class T>() {
    const int64_t E = a.segments.experts;
    mean_over_segments<T>(a.segments, a.loss, a.value, [&](int64_t n, double tokens) {
      double sum = 0;
      for_tokens(a.segments, n, [&](int64_t t) {
        const T *p = a.p.as<T>() + t * E, *z = a.logits.as<T>() + t * E, lse = a.lse.as<T>()[t];
        // ln p = z - lse needs no logarithm, and is finite where p is 0
        T entropy = lane_sum<T>(E, [&](int64_t e) { return p[e] * (lse - z[e]); });
        a.entropy.as<T>()[t] = entropy;
        sum += double(entropy);
      });
      return sum / tokens;
    });
  });
}

void local_entropy_loss_bwd(const LocalEntropyLossBwd& a) {
  dispatch_router(a.p.dtype, [&]<class T>() {
    const int64_t E = a.segments.experts;
    const double dy = double(a.dy.as<T>()[0]);
    for_gradient_rows<T>(a.segments, a.dlogits, [&](int64_t n, int64_t t, T* dlogits) {
      const T *p = a.p.as<T>() + t * E, *z = a.logits.as<T>() + t * E, shift = a.entropy.as<T>()[t] - a.lse.as<T>()[t];
      const T scale = T(-dy * a.segments.share.as<double>()[n] / a.segments.tokens.as<double>()[n]);
      for (int64_t e = 0; e < E; ++e) { dlogits[e] = scale * p[e] * (z[e] + shift); }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
