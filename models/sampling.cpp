#include "pumice/models/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <unordered_set>

#include "pumice/tensor/error.h"
#include "pumice/tensor/philox.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

struct Score { int32_t id; double value; };

// [V] without those that are impossible.
std::vector<Score> scores_of(std::span<const float> logits, std::span<const int32_t> context, double penalty) {
  std::vector<Score> scores;
  scores.reserve(logits.size());
  std::unordered_set<int32_t> there;
  if (penalty != 1.0) { there.insert(context.begin(), context.end()); }
  for (size_t id = 0; id < logits.size(); ++id) {
    double value = logits[id];
    REQUIRE(NumericError, value < std::numeric_limits<double>::infinity(), "[sample] logit ", id, " of ", logits.size(), " is ", value,
            "; the model's weights or its input hold NaN or infinity");
    if (!there.empty() && there.count(int32_t(id))) { value = value > 0 ? value / penalty : value * penalty; }
    if (value > -std::numeric_limits<double>::infinity()) { scores.push_back({int32_t(id), value}); }
  }
  REQUIRE(NumericError, !scores.empty(), "[sample] none of the ", logits.size(), " logits is finite; there is no token to take");
  return scores;
}

void keep_top_k(std::vector<Score>& scores, int64_t k) {
  if (k == 0 || k >= int64_t(scores.size())) { return; }
  std::vector<double> largest;  // a heap of the k largest so far, the least of them in front: few of a large vocabulary come in
  for (const Score& s : scores) {
    const bool full = int64_t(largest.size()) == k;
    if (full && s.value <= largest.front()) { continue; }
    if (full) {
      std::pop_heap(largest.begin(), largest.end(), std::greater<>());
      largest.pop_back();
    }
    largest.push_back(s.value);
    std::push_heap(largest.begin(), largest.end(), std::greater<>());
  }
  const double least = largest.front();
  std::erase_if(scores, [&](const Score& s) { return s.value < least; });
}

// Takes tokens off a heap until their sum reaches p: no more of a large vocabulary is sorted than is kept.
void keep_top_p(std::vector<KeptToken>& tokens, double p) {
  if (p >= 1.0) { return; }
  auto less = [](const KeptToken& a, const KeptToken& b) {
    return a.probability != b.probability ? a.probability < b.probability : a.id < b.id;
  };
  std::make_heap(tokens.begin(), tokens.end(), less);
  double sum = 0;
  auto rest = tokens.end();
  do {
    std::pop_heap(tokens.begin(), rest--, less);
    sum += rest->probability;
  } while (sum < p && rest != tokens.begin());
  tokens.erase(tokens.begin(), rest);
  for (KeptToken& t : tokens) { t.probability /= sum; }
}

std::vector<KeptToken> probabilities_of(const std::vector<Score>& scores, double temperature) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const Score& s : scores) { most = std::max(most, s.value); }
  std::vector<KeptToken> tokens;
  tokens.reserve(scores.size());
  for (const Score& s : scores) {
    tokens.push_back({s.id, std::exp((s.value - most) / temperature)});
    sum += tokens.back().probability;
  }
  for (KeptToken& t : tokens) { t.probability /= sum; }
  return tokens;
}

bool more_probable(const KeptToken& a, const KeptToken& b) { return a.probability != b.probability ? a.probability > b.probability : a.id < b.id; }

// kept_tokens() in any order.
std::vector<KeptToken> kept_unordered(std::span<const float> logits, std::span<const int32_t> context, const SamplingOptions& options) {
  check_sampling(options);
  std::vector<Score> scores = scores_of(logits, context, options.repetition_penalty);
  if (options.temperature == 0) {
    const auto most = std::max_element(scores.begin(), scores.end(), [](const Score& a, const Score& b) { return a.value < b.value; });
    return {{most->id, 1.0}};
  }
  keep_top_k(scores, options.top_k);
  std::vector<KeptToken> tokens = probabilities_of(scores, options.temperature);
  keep_top_p(tokens, options.top_p);
  return tokens;
}

double uniform(uint64_t seed, int64_t step, int64_t sequence) {
  const Random4 r = random4({.seed = seed, .step = uint32_t(step), .site = site_of("sampling")}, uint64_t(sequence));
  return double((uint64_t(r.v[0]) << 32 | r.v[1]) >> 11) * 0x1p-53;
}

}  // namespace

void check_sampling(const SamplingOptions& o) {
  REQUIRE(UsageError, o.temperature >= 0 && std::isfinite(o.temperature), "[sample] the temperature must be 0 (greedy) or positive, got ",
          o.temperature);
  REQUIRE(UsageError, o.top_k >= 0, "[sample] top-k must be 0 (all) or positive, got ", o.top_k);
  REQUIRE(UsageError, o.top_p >= 0 && o.top_p <= 1, "[sample] top-p must be in [0, 1], got ", o.top_p);
  REQUIRE(UsageError, o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty),
          "[sample] the repetition penalty must be positive (1 for none), got ", o.repetition_penalty);
  REQUIRE(UsageError, o.max_new_tokens > 0, "[sample] the number of new tokens must be positive, got ", o.max_new_tokens);
}

std::vector<KeptToken> kept_tokens(std::span<const float> logits, std::span<const int32_t> context, const SamplingOptions& options) {
  std::vector<KeptToken> tokens = kept_unordered(logits, context, options);
  std::sort(tokens.begin(), tokens.end(), more_probable);
  return tokens;
}

int32_t draw_token(std::span<const KeptToken> kept, uint64_t seed, int64_t step, int64_t sequence) {
  REQUIRE(UsageError, !kept.empty(), "[sample] there is no token to draw from");
  const double u = uniform(seed, step, sequence);
  double sum = 0;
  for (const KeptToken& t : kept) {
    sum += t.probability;
    if (u < sum) { return t.id; }
  }
  return kept.back().id;  // u fell into what rounding left of 1
}

// draw_token(kept_tokens(...)), of which no more is sorted than the draw passes over.
int32_t sample_token(std::span<const float> logits, std::span<const int32_t> context, const SamplingOptions& options, int64_t step,
                     int64_t sequence) {
  std::vector<KeptToken> tokens = kept_unordered(logits, context, options);
  const double u = uniform(options.seed, step, sequence);
  const auto less = [](const KeptToken& a, const KeptToken& b) { return more_probable(b, a); };
  std::make_heap(tokens.begin(), tokens.end(), less);
  double sum = 0;
  for (auto rest = tokens.end();;) {
    std::pop_heap(tokens.begin(), rest--, less);
    sum += rest->probability;
    if (u < sum || rest == tokens.begin()) { return rest->id; }
  }
}

bool ends_text(const SamplingOptions& options, int32_t id) {
  return std::find(options.end_tokens.begin(), options.end_tokens.end(), id) != options.end_tokens.end();
}

}  // namespace pumice
