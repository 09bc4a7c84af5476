// The auxiliary losses on CUDA. Forward: sums over the tokens of each segment in pieces, in f64 and in a fixed order (sum_tokens); then a block per
// segment makes its loss of the means (finish_segments); then their weighted mean. Traffic: probabilities or logits are read once. Backward: a warp
// per token reads its row and writes its gradient once; tokens that do not count get zeros.
#include "pumice/moe/router_losses_kernels.h"
#include "pumice/moe/router_rows_cuda.h"
#include "pumice/tensor/simt/device_scratch.h"
#include "pumice/tensor/simt/sum_in_order.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;

struct Tokens {  // Segments as kernels see them
  const int64_t* offsets;
  const double *tokens, *share;
  const uint8_t* modality;
  int64_t count, wanted;

  explicit Tokens(const Segments& s)
      : offsets(s.offsets.as<int64_t>()), tokens(s.tokens.as<double>()), share(s.share.as<double>()), modality(s.modality.as<uint8_t>()),
        count(s.count), wanted(s.wanted) {}
  __device__ __forceinline__ bool counts(int64_t t) const { return !modality || modality[t] == wanted; }
  __device__ __forceinline__ int64_t segment_of(int64_t t) const {
    int64_t low = 0, high = count;  // offsets[low] <= t < offsets[high]
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (offsets[middle] <= t ? low : high) = middle;
    }
    return low;
  }
};

// ---- forward ----

// partial (N, pieces, columns): sums of term(t, column) over a piece of a segment's tokens. A block per piece and 256 columns at most; its threads
// are groups of neighbouring columns, which take the piece's tokens in turns and are then added as a tree.
template <class Term> __global__ void __launch_bounds__(kBlock)
sum_tokens(double* partial, Tokens tokens, int64_t columns, int64_t stripes, int64_t pieces, Term term) {
  SIMT_SHARED(double, sums, [kBlock]);
  const int64_t stripe = blockIdx.x % stripes, piece = blockIdx.x / stripes % pieces, n = blockIdx.x / stripes / pieces;
  const int width = int(min(columns - stripe * kBlock, int64_t(kBlock))), column = threadIdx.x % width, group = threadIdx.x / width;
  int groups = kBlock / width;
  const int64_t first = tokens.offsets[n], length = tokens.offsets[n + 1] - first, end = first + length * (piece + 1) / pieces;
  double sum = 0;
  for (int64_t t = first + length * piece / pieces + group; group < groups && t < end; t += groups) {
    if (tokens.counts(t)) { sum += term(t, stripe * kBlock + column); }
  }
  sums[threadIdx.x] = sum;
  while (groups > 1) {
    const int half = (groups + 1) / 2;
    __syncthreads();
    if (group < groups - half) { sums[threadIdx.x] += sums[threadIdx.x + half * width]; }
    groups = half;
  }
  if (group == 0) { partial[(n * pieces + piece) * columns + stripe * kBlock + column] = sums[threadIdx.x]; }
}

// A block per segment: its means over tokens (columns), in place of the sums of its first piece, and its loss from them:
// loss = finish(n, tokens, share, mean), called by all threads. Segments without tokens keep zeros.
template <class Finish> __global__ void __launch_bounds__(kBlock, 1)
finish_segments(double* value, double* partial, Tokens tokens, int64_t columns, int64_t pieces, Finish finish) {
  const int64_t n = blockIdx.x;
  const double share = tokens.share[n];
  if (share <= 0) {
    if (threadIdx.x == 0) { value[n] = 0; }
    return;
  }
  double* mean = partial + n * pieces * columns;
  for (int64_t c = threadIdx.x; c < columns; c += kBlock) {
    double sum = mean[c];
    for (int64_t piece = 1; piece < pieces; ++piece) { sum += mean[piece * columns + c]; }
    mean[c] = sum / tokens.tokens[n];
  }
  __syncthreads();
  const double loss = finish(n, tokens.tokens[n], share, mean);
  if (threadIdx.x == 0) { value[n] = share * loss; }
}

template <class Term, class Finish>
void mean_over_segments(const View& loss, const View& value, const Segments& segments, int64_t T, int64_t columns, Term term, Finish finish) {
  const Tokens tokens(segments);
  const int64_t N = segments.count, stripes = (columns + kBlock - 1) / kBlock, pieces = N ? simt::blocks_for(T / N, 256, 64) : 1;
  if (N) {
    const simt::DeviceScratch<double> partial(N * pieces * columns);
    simt::launch<sum_tokens<Term>>({.grid = unsigned(N * pieces * stripes), .block = kBlock}, partial.get(), tokens, columns, stripes, pieces, term);
    simt::launch<finish_segments<Finish>>({.grid = unsigned(N), .block = kBlock}, value.as<double>(), partial.get(), tokens, columns, pieces, finish);
  }
  simt::write_sum(loss.as<float>(), value.as<double>(), N);
}

// Sum over e in [0, E) of f(e), by all threads of the block.
template <class F> __device__ __forceinline__ double expert_sum(int64_t E, const F& f) {
  double sum = 0;
  for (int64_t e = threadIdx.x; e < E; e += kBlock) { sum += f(e); }
  return simt::block_reduce(sum, simt::Sum(), 0.0);
}
struct Variation { double mean, variance; };  // population variance
__device__ __forceinline__ Variation variation(const double* x, int64_t E) {
  const double mean = expert_sum(E, [=](int64_t e) { return x[e]; }) / double(E);
  return {mean, expert_sum(E, [=](int64_t e) { return (x[e] - mean) * (x[e] - mean); }) / double(E)};
}

struct Matrix {  // columns are experts
  const float* x;
  int64_t E;
  __device__ double operator()(int64_t t, int64_t e) const { return double(x[t * E + e]); }
};
struct ProbsAndChoices {  // E columns of probabilities, E columns that count first choices
  const float* p;
  const int32_t* expert;
  int64_t E, K;
  __device__ double operator()(int64_t t, int64_t c) const { return c < E ? double(p[t * E + c]) : expert[t * K] == c - E ? 1.0 : 0.0; }
};
struct LoadTerm {  // the probability that the expert were chosen under fresh noise
  const float *logits, *noisy;
  const int32_t* expert;
  int64_t E, K;
  float over_sigma_sqrt2;
  __device__ double operator()(int64_t t, int64_t e) const {
    const float threshold = noisy[t * E + expert[t * K + K - 1]];
    return double(0.5f * (1.0f - erff((threshold - logits[t * E + e]) * over_sigma_sqrt2)));
  }
};
struct Square {
  const float* x;
  __device__ double operator()(int64_t t, int64_t) const { return double(x[t]) * double(x[t]); }
};

struct MeanItself {
  __device__ double operator()(int64_t, double, double, const double* mean) const { return mean[0]; }
};
struct Importance {
  double *c, *v;
  int64_t E;
  __device__ double operator()(int64_t n, double tokens, double share, const double* mean) const {
    for (int64_t e = threadIdx.x; e < E; e += kBlock) { v[n * E + e] = mean[e]; }
    const Variation x = variation(mean, E);
    if (threadIdx.x == 0) { c[n] = share * 2 * double(E) / tokens; }
    return x.mean > 0 ? x.variance / (x.mean * x.mean) : 0;
  }
};
struct Balance {
  double *c, *v;
  int64_t E;
  __device__ double operator()(int64_t n, double tokens, double share, const double* mean) const {
    for (int64_t e = threadIdx.x; e < E; e += kBlock) { v[n * E + e] = mean[E + e]; }
    if (threadIdx.x == 0) { c[n] = share * double(E) / tokens; }
    return double(E) * expert_sum(E, [=, this](int64_t e) { return mean[e] * mean[E + e]; });
  }
};
struct GlobalEntropy {
  double *c, *v;
  int64_t E;
  double threshold;
  __device__ double operator()(int64_t n, double tokens, double share, const double* mean) const {
    const double entropy = -expert_sum(E, [=, this](int64_t e) {
      const double log_p = log(mean[e] > __DBL_MIN__ ? mean[e] : __DBL_MIN__);  // 0 ln 0 = 0, and p_ie = 0 wherever the mean is
      v[n * E + e] = log_p;
      return mean[e] * log_p;
    });
    const bool below = entropy < threshold;
    if (threadIdx.x == 0) { c[n] = below ? share / tokens : 0; }
    return below ? threshold - entropy : 0;
  }
};
struct Load {
  double *c, *g;
  int64_t E;
  double sigma;
  __device__ double operator()(int64_t n, double tokens, double share, const double* load) const {
    const Variation x = variation(load, E);
    const double m = x.mean, m2 = double(E) * m * m;
    for (int64_t e = threadIdx.x; e < E; e += kBlock) { g[n * E + e] = m > 0 ? 2 * (load[e] - m) / m2 - 2 * x.variance / (m2 * m) : 0; }
    if (threadIdx.x == 0) { c[n] = share / (tokens * sigma); }
    return m > 0 ? x.variance / (m * m) : 0;
  }
};

template <class Team> __global__ void __launch_bounds__(Team::kBlock)
token_entropies(float* entropy, const float* logits, const float* lse, const float* probs, Tokens tokens, int64_t T, int64_t E) {
  const int64_t t = Team::number();
  if (t >= T || !tokens.counts(t)) { return; }
  const simt::Row<float, Team> p(probs + t * E, E), z(logits + t * E, E);
  const float shift = lse[t];
  // ln p = z - lse needs no logarithm, and is finite where p is 0
  const float sum = simt::row_sum(E, [=](int64_t, float p, float z) { return p * (shift - z); }, p, z);
  if (threadIdx.x % 32 == 0) { entropy[t] = sum; }
}

// ---- backward ----

// A warp per token: rows.template operator()<Team>(segment, token, its row of dlogits).
template <class Team, class Rows> __global__ void __launch_bounds__(Team::kBlock)
gradient_rows(float* dlogits, Tokens tokens, int64_t T, int64_t E, Rows rows) {
  const int64_t t = Team::number();
  if (t >= T) { return; }
  float* row = dlogits + t * E;
  if (tokens.counts(t)) { rows.template row<Team>(tokens, tokens.segment_of(t), t, E, row); }
  else { Team::each(E, [&](int, int64_t e) { row[e] = 0; }); }
}

template <class Rows> void for_gradient_rows(const View& dlogits, const Segments& segments, Rows rows) {
  const int64_t T = dlogits.shape[0], E = segments.experts;
  if (!T) { return; }
  simt::with_expert_team(dlogits.dtype, E, [&]<class Team>() {
    simt::launch<gradient_rows<Team, Rows>>(Team::cover(T), dlogits.as<float>(), Tokens(segments), T, E, rows);
  });
}

struct MeanProbsRows {
  const float* dy;
  const double *c, *v_all;
  const float* probs;
  template <class Team> __device__ void row(const Tokens&, int64_t n, int64_t t, int64_t E, float* dlogits) const {
    const simt::Row<float, Team> p(probs + t * E, E);
    const double *v = v_all + n * E, scale = double(*dy) * c[n];
    double dot = 0;
    simt::each_column(E, [&](int64_t e, float x) { dot += double(x) * v[e]; }, p);
    dot = simt::warp_reduce(dot, simt::Sum());
    simt::row_store(dlogits, E, [=](int64_t e, float x) { return float(scale * double(x) * (v[e] - dot)); }, p);
  }
};
struct LoadRows {
  const float* dy;
  const double *c, *g_all;
  const float *logits, *noisy;
  const int32_t* expert;
  int64_t K;
  double sigma;
  template <class Team> __device__ void row(const Tokens&, int64_t n, int64_t t, int64_t E, float* dlogits) const {
    const simt::Row<float, Team> z(logits + t * E, E);
    const int32_t kth = expert[t * K + K - 1];
    const float threshold = noisy[t * E + kth], over_sigma = float(1 / sigma);
    const double* g = g_all + n * E;
    const float scale = float(double(*dy) * c[n] * 0.39894228040143267794);  // 1 / sqrt(2 pi)
    const auto term = [=](int64_t e, float x) {
      const float distance = (threshold - x) * over_sigma;
      return scale * expf(-0.5f * distance * distance) * float(g[e]);
    };
    const float sum = simt::row_sum(E, term, z);
    simt::row_store(dlogits, E, [=](int64_t e, float x) { return term(e, x) - (e == kth ? sum : 0.0f); }, z);
  }
};
struct ZRows {
  const float *dy, *lse, *probs;
  template <class Team> __device__ void row(const Tokens& tokens, int64_t n, int64_t t, int64_t E, float* dlogits) const {
    const simt::Row<float, Team> p(probs + t * E, E);
    const float scale = float(double(*dy) * 2 * tokens.share[n] / tokens.tokens[n]) * lse[t];
    simt::row_store(dlogits, E, [=](int64_t, float x) { return scale * x; }, p);
  }
};
struct LocalEntropyRows {
  const float *dy, *entropy, *logits, *lse, *probs;
  template <class Team> __device__ void row(const Tokens& tokens, int64_t n, int64_t t, int64_t E, float* dlogits) const {
    const simt::Row<float, Team> p(probs + t * E, E), z(logits + t * E, E);
    const float shift = entropy[t] - lse[t], scale = float(-double(*dy) * tokens.share[n] / tokens.tokens[n]);
    simt::row_store(dlogits, E, [=](int64_t, float x, float y) { return scale * x * (y + shift); }, p, z);
  }
};

}  // namespace

void importance_loss_fwd(const MeanProbsLoss& a) {
  simt::require_f32(a.p.dtype);
  const int64_t T = a.p.shape[0], E = a.segments.experts;
  mean_over_segments(a.loss, a.value, a.segments, T, E, Matrix{a.p.as<float>(), E}, Importance{a.c.as<double>(), a.v.as<double>(), E});
}

void balance_loss_fwd(const MeanProbsLoss& a) {
  simt::require_f32(a.p.dtype);
  const int64_t T = a.p.shape[0], E = a.segments.experts;
  mean_over_segments(a.loss, a.value, a.segments, T, 2 * E, ProbsAndChoices{a.p.as<float>(), a.expert.as<int32_t>(), E, a.per_token},
                     Balance{a.c.as<double>(), a.v.as<double>(), E});
}

void global_entropy_loss_fwd(const MeanProbsLoss& a) {
  simt::require_f32(a.p.dtype);
  const int64_t T = a.p.shape[0], E = a.segments.experts;
  mean_over_segments(a.loss, a.value, a.segments, T, E, Matrix{a.p.as<float>(), E},
                     GlobalEntropy{a.c.as<double>(), a.v.as<double>(), E, a.threshold});
}

void mean_probs_loss_bwd(const MeanProbsLossBwd& a) {
  for_gradient_rows(a.dlogits, a.segments, MeanProbsRows{a.dy.as<float>(), a.c.as<double>(), a.v.as<double>(), a.p.as<float>()});
}

void load_loss_fwd(const LoadLoss& a) {
  simt::require_f32(a.logits.dtype);
  const int64_t T = a.logits.shape[0], E = a.segments.experts;
  const LoadTerm term{a.logits.as<float>(), a.noisy.as<float>(), a.expert.as<int32_t>(), E, a.per_token, float(0.70710678118654752440 / a.sigma)};
  mean_over_segments(a.loss, a.value, a.segments, T, E, term, Load{a.c.as<double>(), a.g.as<double>(), E, a.sigma});
}

void load_loss_bwd(const LoadLossBwd& a) {
  for_gradient_rows(a.dlogits, a.segments, LoadRows{a.dy.as<float>(), a.c.as<double>(), a.g.as<double>(), a.logits.as<float>(), a.noisy.as<float>(),
                                                    a.expert.as<int32_t>(), a.per_token, a.sigma});
}

void z_loss_fwd(const ZLoss& a) {
  simt::require_f32(a.lse.dtype);
  mean_over_segments(a.loss, a.value, a.segments, a.lse.shape[0], 1, Square{a.lse.as<float>()}, MeanItself{});
}

void z_loss_bwd(const ZLossBwd& a) { for_gradient_rows(a.dlogits, a.segments, ZRows{a.dy.as<float>(), a.lse.as<float>(), a.p.as<float>()}); }

void local_entropy_loss_fwd(const LocalEntropyLoss& a) {
  const int64_t T = a.p.shape[0], E = a.segments.experts;
  if (T) {
    simt::with_expert_team(a.p.dtype, E, [&]<class Team>() {
      simt::launch<token_entropies<Team>>(Team::cover(T), a.entropy.as<float>(), a.logits.as<float>(), a.lse.as<float>(), a.p.as<float>(),
                                          Tokens(a.segments), T, E);
    });
  }
  mean_over_segments(a.loss, a.value, a.segments, T, 1, Matrix{a.entropy.as<float>(), 1}, MeanItself{});
}

void local_entropy_loss_bwd(const LocalEntropyLossBwd& a) {
  for_gradient_rows(a.dlogits, a.segments, LocalEntropyRows{a.dy.as<float>(), a.entropy.as<float>(), a.logits.as<float>(), a.lse.as<float>(),
                                                            a.p.as<float>()});
}

}  // namespace pumice::cuda
