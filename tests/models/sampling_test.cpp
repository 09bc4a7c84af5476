#include "pumice/models/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<int32_t> ids_of(const std::vector<KeptToken>& kept) {
  std::vector<int32_t> ids;
  for (const KeptToken& t : kept) { ids.push_back(t.id); }
  return ids;
}

TEST(Sampling, KeepsWhatHuggingFaceKeeps) {  // tests/oracle/make_sampling_fixtures.py
  const auto all = parse_json(read_file(std::string(PUMICE_FIXTURES) + "/models/fixtures/sampling.json"));
  std::map<std::string, std::vector<float>> logits;
  for (const auto& [name, values] : all["logits"].items()) {
    for (const auto& v : values) { logits[name].push_back(v.is_null() ? -kInfinity : v.get<float>()); }
  }
  ASSERT_EQ(all["rows"].size(), 576u);
  for (const auto& row : all["rows"]) {
    const auto& o = row["options"];
    const SamplingOptions options{.temperature = o[0], .top_k = o[1], .top_p = o[2], .repetition_penalty = o[3]};
    const auto kept = kept_tokens(logits[row["logits"]], std::vector<int32_t>(row["context"]), options);
    std::map<int32_t, double> want;
    for (const auto& pair : row["kept"]) { want[pair[0]] = pair[1]; }
    ASSERT_EQ(kept.size(), want.size()) << row;
    for (size_t i = 0; i < kept.size(); ++i) {
      ASSERT_TRUE(want.count(kept[i].id)) << row << " keeps " << kept[i].id;
      EXPECT_NEAR(kept[i].probability, want[kept[i].id], 1e-11 * want[kept[i].id] + 1e-300) << row;
      if (i > 0) { EXPECT_GE(kept[i - 1].probability, kept[i].probability); }
    }
  }
}

// A draw sorts no more of a large vocabulary than it passes over; the token is that of the whole list. Logits of few levels have many ties.
TEST(Sampling, ADrawIsOneOfTheKeptTokens) {
  std::map<int32_t, int> drawn;
  for (const float levels : {3.f, 40.f, 100000.f}) {
    std::vector<float> logits(1000);
    uint32_t seed = 5;
    for (float& v : logits) { v = std::floor(float((seed = seed * 1664525 + 1013904223) >> 8) / float(1 << 24) * levels) / levels * 6; }
    for (const SamplingOptions& o : {SamplingOptions{.temperature = 1, .top_k = 0}, {.temperature = 0.7, .top_k = 50},
                                     {.temperature = 2, .top_k = 0, .top_p = 0.8},
                                     {.temperature = 1, .top_k = 7, .top_p = 0.5, .repetition_penalty = 1.2}, {.temperature = 0}}) {
      const std::vector<int32_t> context = {1, 2, 3, 500};
      const auto kept = kept_tokens(logits, context, o);
      for (int64_t step = 0; step < 40; ++step) {
        const int32_t id = sample_token(logits, context, o, step, 3);
        ASSERT_EQ(id, draw_token(kept, o.seed, step, 3)) << levels << " levels, step " << step;
        ++drawn[id];
      }
    }
  }
  EXPECT_GT(drawn.size(), 100u);
}

// Probabilities 1/2, 1/4, 1/8, 1/8.
const std::vector<float> kHalves = {float(std::log(4.0)), float(std::log(2.0)), 0, 0};

TEST(Sampling, FiltersByHand) {
  SamplingOptions o{.temperature = 1, .top_k = 0, .top_p = 0.6};
  EXPECT_EQ(ids_of(kept_tokens(kHalves, {}, o)), (std::vector<int32_t>{0, 1})) << "the token that crosses the border stays";
  o.top_p = 0.49;
  EXPECT_EQ(ids_of(kept_tokens(kHalves, {}, o)), (std::vector<int32_t>{0}));
  o.top_p = 0;
  EXPECT_EQ(ids_of(kept_tokens(kHalves, {}, o)), (std::vector<int32_t>{0})) << "one at least";
  o = {.temperature = 1, .top_k = 3};
  EXPECT_EQ(ids_of(kept_tokens(kHalves, {}, o)), (std::vector<int32_t>{0, 1, 2, 3})) << "what equals the third stays with it";
  o.top_k = 2;
  const auto two = kept_tokens(kHalves, {}, o);
  ASSERT_EQ(two.size(), 2u);
  EXPECT_NEAR(two[0].probability, 2.0 / 3, 1e-7);
  o = {.temperature = 1, .top_k = 2, .top_p = 0.6};
  EXPECT_EQ(ids_of(kept_tokens(kHalves, {}, o)), (std::vector<int32_t>{0})) << "top-p looks at what top-k left: 2/3 reach 0.6";
  o = {.temperature = 1, .top_k = 0, .top_p = 0.5};
  EXPECT_EQ(ids_of(kept_tokens(std::vector<float>(4, 1.5f), {}, o)), (std::vector<int32_t>{2, 3})) << "of equal tokens the larger ids";
}

TEST(Sampling, PenaltyOfWhatIsThere) {
  const std::vector<float> logits = {2, 1.5, -1, -1.2f};
  const SamplingOptions greedy{.temperature = 0, .repetition_penalty = 2};
  EXPECT_EQ(kept_tokens(logits, std::vector<int32_t>{0, 0, 0}, greedy)[0].id, 1) << "2 becomes 1, once, however often the token stands there";
  EXPECT_EQ(kept_tokens(logits, std::vector<int32_t>{1, -200, 4000}, greedy)[0].id, 0) << "ids outside the vocabulary do not count";
  const SamplingOptions all{.temperature = 1, .top_k = 0, .repetition_penalty = 2};
  EXPECT_EQ(ids_of(kept_tokens(logits, std::vector<int32_t>{2}, all)), (std::vector<int32_t>{0, 1, 3, 2})) << "-1 becomes -2";
}

TEST(Sampling, GreedyTakesTheFirstOfEqualTokens) {
  const SamplingOptions greedy{.temperature = 0, .top_k = 1, .top_p = 0.1};
  const auto kept = kept_tokens(std::vector<float>{-3, 7, 7, -kInfinity}, {}, greedy);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].id, 1);
  EXPECT_EQ(kept[0].probability, 1.0);
  EXPECT_EQ(sample_token(std::vector<float>{-3, 7, 7}, {}, greedy, 3, 5), 1);
}

TEST(Sampling, TinyTemperaturesAndHugeLogitsStayFinite) {
  const SamplingOptions cold{.temperature = 1e-6, .top_k = 0, .top_p = 0.9};
  EXPECT_EQ(ids_of(kept_tokens(std::vector<float>{1, 3e38f, -3e38f, 2}, {}, cold)), (std::vector<int32_t>{1}));
}

// Seeds are fixed: the same counts in every run. Three times the largest standard error of a share, 1 / (2 sqrt(n)), is 0.0075.
TEST(Sampling, DrawsFollowTheProbabilitiesAndStayInTheKeptSet) {
  const SamplingOptions o{.temperature = 1, .top_k = 3, .top_p = 0.99, .seed = 11};
  const std::vector<float> logits = {1, -2, 2.5f, 0.5f, -1};
  const auto kept = kept_tokens(logits, {}, o);
  ASSERT_EQ(ids_of(kept), (std::vector<int32_t>{2, 0, 3}));
  std::map<int32_t, int> counts;
  const int n = 40000;
  for (int i = 0; i < n; ++i) { ++counts[sample_token(logits, {}, o, i / 100, i % 100)]; }
  ASSERT_EQ(counts.size(), 3u);
  for (const KeptToken& t : kept) { EXPECT_NEAR(counts[t.id] / double(n), t.probability, 1.5 / std::sqrt(double(n))) << t.id; }
}

TEST(Sampling, DrawsAreAFunctionOfSeedStepAndSequence) {
  const SamplingOptions o{.temperature = 1, .top_k = 0, .seed = 3};
  const std::vector<float> logits(1000, 0.0f);
  std::vector<int32_t> one, two, seed, step;
  for (int i = 0; i < 8; ++i) {
    one.push_back(sample_token(logits, {}, o, 0, i));
    two.push_back(sample_token(logits, {}, o, 0, 7 - i));
    step.push_back(sample_token(logits, {}, o, 1, i));
    SamplingOptions other = o;
    other.seed = 4;
    seed.push_back(sample_token(logits, {}, other, 0, i));
  }
  EXPECT_EQ(one, std::vector<int32_t>(two.rbegin(), two.rend())) << "in whatever order";
  EXPECT_NE(one, seed);
  EXPECT_NE(one, step);
}

TEST(Sampling, WrongValuesAreNamed) {
  auto message = [](SamplingOptions o) { return message_of<UsageError>([&] { kept_tokens(kHalves, {}, o); }); };
  EXPECT_EQ(message({.temperature = -1}), "[sample] the temperature must be 0 (greedy) or positive, got -1");
  EXPECT_EQ(message({.temperature = std::nan("")}), "[sample] the temperature must be 0 (greedy) or positive, got nan");
  EXPECT_EQ(message({.top_k = -2}), "[sample] top-k must be 0 (all) or positive, got -2");
  EXPECT_EQ(message({.top_p = 1.5}), "[sample] top-p must be in [0, 1], got 1.5");
  EXPECT_EQ(message({.repetition_penalty = 0}), "[sample] the repetition penalty must be positive (1 for none), got 0");
  EXPECT_EQ(message({.max_new_tokens = 0}), "[sample] the number of new tokens must be positive, got 0");
  auto numeric = [](const std::vector<float>& logits) { return message_of<NumericError>([&] { kept_tokens(logits, {}, {}); }); };
  EXPECT_EQ(numeric({0, NAN}), "[sample] logit 1 of 2 is nan; the model's weights or its input hold NaN or infinity");
  EXPECT_EQ(numeric({kInfinity}), "[sample] logit 0 of 1 is inf; the model's weights or its input hold NaN or infinity");
  EXPECT_EQ(numeric({-kInfinity, -kInfinity}), "[sample] none of the 2 logits is finite; there is no token to take");
  EXPECT_EQ(message_of<UsageError>([] { draw_token({}, 0, 0, 0); }), "[sample] there is no token to draw from");
}

TEST(Sampling, AnyOfTheEndTokensEnds) {
  const SamplingOptions o{.end_tokens = {2, 7}};
  EXPECT_TRUE(ends_text(o, 7));
  EXPECT_FALSE(ends_text(o, 0));
  EXPECT_FALSE(ends_text({}, 0));
}

}  // namespace
}  // namespace pumice
