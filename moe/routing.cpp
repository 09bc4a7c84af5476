#include "pumice/moe/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/reduce/softmax.h"
#include "pumice/ops/require.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

enum Draw : uint32_t { kNoise = 0, kOrder = 0x51ed270b, kGumbel = 0x2545f491 };  // xored into the site: independent streams

// Index of a token's first random number: its group's place in the whole batch, then its place in the group.
uint64_t element_of(const TokenGroups& groups, int64_t group, int64_t place, int64_t per_token) {
  return uint64_t(groups.first_group + group) << 30 | uint64_t(place * per_token);
}

// Standard normal noise of one deviation per expert and token.
Tensor draw_noise(const TokenGroups& groups, int64_t E, double stddev, DType dtype, uint32_t site) {
  Tensor noise = empty({groups.tokens(), E}, DType::f64);
  double* n = noise.data<double>();
  const RandomKey key = random_key(site ^ kNoise);
  parallel_for(groups.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const uint64_t first = element_of(groups, g, 0, E);
      for (int64_t i = 0; i < (groups.offsets[g + 1] - groups.offsets[g]) * E; ++i) {
        n[groups.offsets[g] * E + i] = stddev * random_normal(key, first + uint64_t(i));
      }
    }
  });
  return to_dtype(noise, dtype);
}

// The best K experts of each token; ties go to the lower expert.
void choose(const double* p, int64_t T, int64_t E, int64_t K, int32_t* expert) {
  parallel_for(T, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t k = 0; k < K; ++k) {
        int32_t best = -1;
        for (int32_t e = 0; e < E; ++e) {
          bool taken = std::find(expert + t * K, expert + t * K + k, e) != expert + t * K + k;
          if (!taken && (best < 0 || p[t * E + e] > p[t * E + best])) { best = e; }
        }
        expert[t * K + k] = best;
      }
    }
  });
}

// The second choice by argmax of logits + Gumbel(0, 1) noise among the experts that are not the first (as DeepSpeed's top-2 gate).
void choose_second_gumbel(const double* z, const TokenGroups& groups, int64_t E, int32_t* expert, uint32_t site) {
  const RandomKey key = random_key(site ^ kGumbel);
  for (int64_t g = 0; g < groups.count(); ++g) {
    for (int64_t t = groups.offsets[g]; t < groups.offsets[g + 1]; ++t) {
      double top = -INFINITY;
      for (int32_t e = 0; e < E; ++e) {
        if (e == expert[2 * t]) { continue; }
        double u = (double(random_bits(key, element_of(groups, g, t - groups.offsets[g], E) + uint64_t(e))) + 0.5) * 0x1p-32;
        double value = z[t * E + e] - std::log(-std::log(u));
        if (value > top) {
          top = value;
          expert[2 * t + 1] = e;
        }
      }
    }
  }
}

// Who claims first among the tokens of group g.
std::vector<int64_t> claim_order(const TokenGroups& groups, int64_t g, Order order, const double* p, const int32_t* expert, int64_t E, int64_t K, const RandomKey& key) {
  const int64_t first = groups.offsets[g], n = groups.offsets[g + 1] - first;
  std::vector<int64_t> place(n);
  std::iota(place.begin(), place.end(), 0);
  if (order == Order::batch_priority) {
    auto score = [&](int64_t i) { return p[(first + i) * E + expert[(first + i) * K]]; };
    std::stable_sort(place.begin(), place.end(), [&](int64_t a, int64_t b) { return score(a) > score(b); });
  } else if (order == Order::random) {
    std::vector<uint32_t> ticket(n);
    for (int64_t i = 0; i < n; ++i) { ticket[i] = random_bits(key, element_of(groups, g, i, 1)); }
    std::stable_sort(place.begin(), place.end(), [&](int64_t a, int64_t b) { return ticket[a] < ticket[b]; });
  }
  return place;
}

// Slots of group g: every token's first choice in claim order, then every second choice, ... counters never stop, so an expert
// that is full stays full.
void assign(Routing& r, int64_t g, Order order, const double* p, const RandomKey& key) {
  const int64_t E = r.experts(), K = r.experts_per_token(), first = r.groups.offsets[g];
  const int32_t* expert = r.expert.data<int32_t>();
  int32_t* slot = r.slot.data<int32_t>();
  std::vector<int64_t> claims(E);
  const std::vector<int64_t> places = claim_order(r.groups, g, order, p, expert, E, K, key);
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t i : places) {
      const int64_t at = (first + i) * K + k, claim = claims[expert[at]]++;
      slot[at] = claim < r.capacity[g] ? int32_t(claim) : -1;
    }
  }
}

// Rows sorted by expert, group, slot, from the slots of all groups.
void lay_out_rows(Routing& r) {
  const int64_t E = r.experts(), K = r.experts_per_token(), G = r.groups.count();
  const int32_t *expert = r.expert.data<int32_t>(), *slot = r.slot.data<int32_t>();
  std::vector<int64_t> kept(size_t(E * G + 1));  // of expert e in group g, then the row where that block begins
  for (int64_t g = 0; g < G; ++g) {
    for (int64_t at = r.groups.offsets[g] * K; at < r.groups.offsets[g + 1] * K; ++at) { kept[size_t(expert[at] * G + g + 1)] += slot[at] >= 0; }
  }
  std::partial_sum(kept.begin(), kept.end(), kept.begin());
  std::vector<int32_t> offsets;
  for (int64_t e = 0; e <= E; ++e) { offsets.push_back(int32_t(kept[size_t(e * G)])); }
  r.expert_offsets = from_values<int32_t>({E + 1}, offsets);
  r.token_of_row = empty({kept.back()}, DType::i32);
  r.row = empty(r.expert.shape(), DType::i32);
  int32_t *row = r.row.data<int32_t>(), *token = r.token_of_row.data<int32_t>();
  for (int64_t g = 0; g < G; ++g) {
    for (int64_t at = r.groups.offsets[g] * K; at < r.groups.offsets[g + 1] * K; ++at) {
      row[at] = slot[at] < 0 ? -1 : int32_t(kept[size_t(expert[at] * G + g)] + slot[at]);
      if (row[at] >= 0) { token[row[at]] = int32_t(at / K); }
    }
  }
}

// gate[t, k] = probs[t, expert[t, k]], over the sum of the token's kept choices when renormalised.
Tensor make_gates(const Routing& r, Gates kind) {
  const int64_t T = r.groups.tokens(), E = r.experts(), K = r.experts_per_token();
  const std::vector<double> p = r.probs.to_vector<double>();
  std::vector<double> gate(size_t(T * K)), total(size_t(T), 1.0);
  const int32_t *expert = r.expert.data<int32_t>(), *slot = r.slot.data<int32_t>();
  const bool renormalise = kind == Gates::renormalised;
  for (int64_t t = 0; t < T; ++t) {
    double sum = 0;
    for (int64_t k = 0; k < K; ++k) {
      gate[t * K + k] = renormalise && slot[t * K + k] < 0 ? 0 : p[t * E + expert[t * K + k]];
      sum += gate[t * K + k];
    }
    if (renormalise && sum > 0) { total[t] = sum; }
    for (int64_t k = 0; k < K; ++k) { gate[t * K + k] /= total[t]; }
  }
  Tensor y = to_dtype(from_values<double>({T, K}, gate), r.probs.dtype());

  // raw:           dp[t, expert] = dgate
  // renormalised:  dp[t, expert] = (dgate - sum_k gate dgate) / total, over kept choices
  return record("gate", y, {r.probs}, [expert_of = r.expert, slot_of = r.slot, y, total, renormalise, E](const Tensor& dy, std::span<GradSink> dx) {
    const int64_t T = y.dim(0), K = y.dim(1);
    const std::vector<double> g = dy.to_vector<double>(), gate = y.to_vector<double>();
    const int32_t *expert = expert_of.data<int32_t>(), *slot = slot_of.data<int32_t>();
    std::vector<double> dp(size_t(T * E));
    for (int64_t t = 0; t < T; ++t) {
      double dot = 0;
      for (int64_t k = 0; renormalise && k < K; ++k) { dot += gate[t * K + k] * g[t * K + k]; }
      for (int64_t k = 0; k < K; ++k) {
        if (renormalise && slot[t * K + k] < 0) { continue; }
        dp[t * E + expert[t * K + k]] = (g[t * K + k] - dot) / total[t];
      }
    }
    dx[0].put(to_dtype(from_values<double>({T, E}, dp), dy.dtype()));
  });
}

}  // namespace

Routing route(const Tensor& logits, const TokenGroups& groups, const RouterOptions& options, bool training, uint32_t site) {
  require_valid(options);
  require_valid(groups);
  REQUIRE(DTypeError, logits.dtype() == DType::f32 || logits.dtype() == DType::f64, "[route] logits must be f32 or f64, got ", name(logits.dtype()));
  REQUIRE(ShapeError, logits.shape() == (Shape{groups.tokens(), options.experts}), "[route] logits must be (T, E) = (", groups.tokens(), ", ", options.experts,
          "), got ", logits.shape());
  const int64_t T = groups.tokens(), E = options.experts, K = options.experts_per_token;
  Routing r;
  r.groups = groups;
  r.logits = logits;
  r.noise_std = training ? options.noise_std / double(E) : 0;
  Tensor noisy = logits;
  if (r.noise_std > 0) { noisy = add(logits, draw_noise(groups, E, r.noise_std, logits.dtype(), site)); }
  r.noisy_logits = noisy.detach();
  r.probs = softmax(noisy);
  r.clean_probs = r.noise_std > 0 ? softmax(logits.detach()) : r.probs.detach();

  const std::vector<double> p = r.probs.to_vector<double>();
  r.expert = empty({T, K}, DType::i32);
  choose(p.data(), T, E, K, r.expert.data<int32_t>());
  if (options.second == SecondChoice::gumbel_always || (options.second == SecondChoice::gumbel && training)) {
    choose_second_gumbel(r.noisy_logits.to_vector<double>().data(), groups, E, r.expert.data<int32_t>(), site);
  }
  r.slot = empty({T, K}, DType::i32);
  for (int64_t g = 0; g < groups.count(); ++g) {
    r.capacity.push_back(capacity_of(groups.offsets[g + 1] - groups.offsets[g], int(E), int(K), training ? options.train : options.eval));
  }
  const RandomKey order_key = random_key(site ^ kOrder);  // of this thread's scope; the pool's threads have their own
  parallel_for(groups.count(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) { assign(r, g, options.order, p.data(), order_key); }
  });
  lay_out_rows(r);
  r.gate = make_gates(r, options.gates);
  return r;
}

}  // namespace pumice
