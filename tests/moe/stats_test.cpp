#include "pumice/moe/stats.h"

#include <gtest/gtest.h>

#include <map>

#include "routing_fixture.h"

namespace pumice {
namespace {

using testing::groups_of;
using testing::logits_of;
using testing::random_logits;

// Two images and two captions' tokens of one group; each expert has one place, so one of two equal choices is dropped.
Routing four_tokens() {
  Tensor logits = logits_of({4, 3}, {.6, .3, .1, .2, .7, .1, .5, .4, .1, .5, .25, .25});
  return route(logits, groups_of({0, 4}, 2), {.experts = 3, .eval = {.factor = 0.75, .multiple_of = 1}}, false, 0);
}

TEST(RoutingStats, CountsPerModality) {
  RoutingStats s = collect_stats(four_tokens());
  EXPECT_EQ(s.image().tokens, 2);
  EXPECT_EQ(s.image().success_rate(), 1);  // experts 0 and 1, surest of theirs
  EXPECT_EQ(s.text().success_rate(), 0);   // both want expert 0, whose place is taken
  EXPECT_EQ(s.all().success_rate(), .5);
  EXPECT_EQ(s.image().share(0), .5);
  EXPECT_EQ(s.text().share(0), 1);
  EXPECT_NEAR(s.image().mean_gate(), .65, 1e-12);
  EXPECT_NEAR(s.image().max_gate, .7, 1e-12);
  EXPECT_NEAR(s.load_cv2(), (std::pow(3 - 4 / 3., 2) + std::pow(1 - 4 / 3., 2) + std::pow(4 / 3., 2)) / 3 / std::pow(4 / 3., 2), 1e-12);
  EXPECT_NEAR(s.mean_lse(), 0, 1e-12);
  EXPECT_NEAR(s.max_logit(), -std::log(.1), 1e-12);
}

TEST(RoutingStats, EntropiesAndEffectiveExperts) {
  RoutingStats s = collect_stats(four_tokens());
  double h1 = -(.6 * std::log(.6) + .3 * std::log(.3) + .1 * std::log(.1)), h2 = -(.2 * std::log(.2) + .7 * std::log(.7) + .1 * std::log(.1));
  double mean = -(.4 * std::log(.4) + .5 * std::log(.5) + .1 * std::log(.1));
  EXPECT_NEAR(s.image().local_entropy(), (h1 + h2) / 2, 1e-12);
  EXPECT_NEAR(s.image().global_entropy(), mean, 1e-12);
  EXPECT_NEAR(s.image().effective_experts(), std::exp(mean), 1e-12);
}

TEST(RoutingStats, MergedMicrobatchesEqualTheBatch) {
  const RouterOptions options{.experts = 5, .experts_per_token = 2, .train = {.factor = .8}};
  Tensor logits = random_logits(60, 5);
  auto stats_of = [&](int64_t begin, int64_t end, int64_t first_group) {
    std::vector<int64_t> offsets;
    for (int64_t t = 0; t <= end - begin; t += 20) { offsets.push_back(t); }
    return collect_stats(route(packed(logits.slice(0, begin, end)), groups_of(offsets, 5, first_group), options, true, 1));
  };
  RoutingStats batch = stats_of(0, 60, 0), merged = stats_of(0, 20, 0);
  merged.merge(stats_of(20, 60, 1));
  ASSERT_EQ(batch.values().size(), merged.values().size());
  for (size_t i = 0; i < batch.values().size(); ++i) {
    EXPECT_EQ(batch.values()[i].first, merged.values()[i].first);
    EXPECT_NEAR(batch.values()[i].second, merged.values()[i].second, 1e-12) << batch.values()[i].first;
  }
}

TEST(RoutingStats, NamesForMetricsLeaveOutAModalityWithoutTokens) {
  Routing images = route(random_logits(8, 3), groups_of({0, 8}), {.experts = 3}, false, 0);
  std::map<std::string, double> values;
  for (auto& [name, value] : collect_stats(images).values()) { values[name] = value; }
  EXPECT_EQ(values.count("image/success_rate"), 1u);
  EXPECT_EQ(values.count("image/expert2"), 1u);
  EXPECT_EQ(values.count("text/success_rate"), 0u);
  EXPECT_NEAR(values["image/expert0"] + values["image/expert1"] + values["image/expert2"], 1, 1e-12);
  EXPECT_TRUE(std::isnan(collect_stats(images).text().success_rate()));
}

}  // namespace
}  // namespace pumice
