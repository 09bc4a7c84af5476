#include "pumice/moe/routing.h"

#include "../message_of.h"
#include "pumice/autograd/autograd.h"
#include "pumice/moe/router_noise.h"
#include "pumice/ops/reduce/reduce.h"
#include "routing_fixture.h"

namespace pumice {
namespace {

using testing::groups_of;
using testing::ints;
using testing::message_of;
using testing::random_logits;

const std::vector<int64_t> kFourGroups = {0, 40, 80, 120, 160};
const RouterOptions kTopTwo = {.experts = 5, .experts_per_token = 2, .train = {.factor = 1}, .eval = {.factor = 2}};

TEST(Route, CapacityIsOfTheGroupAndOfTheMode) {
  TokenGroups groups = groups_of({0, 40, 80, 97});  // a ragged last group
  Tensor logits = random_logits(97, 5);
  EXPECT_EQ(route(logits, groups, kTopTwo, true, 1).capacity, (std::vector<int64_t>{16, 16, 8}));
  EXPECT_EQ(route(logits, groups, kTopTwo, false, 1).capacity, (std::vector<int64_t>{32, 32, 16}));
}

TEST(Route, RowsSlotsAndOffsetsAgree) {
  TokenGroups groups = groups_of({0, 40, 80, 97});
  for (Order order : {Order::position, Order::random, Order::batch_priority}) {
    RouterOptions options = kTopTwo;
    options.order = order;
    Routing r = route(random_logits(97, 5), groups, options, true, 1);
    std::vector<int> expert = ints(r.expert), row = ints(r.row), slot = ints(r.slot), token = ints(r.token_of_row), offsets = ints(r.expert_offsets);
    size_t kept = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      ASSERT_EQ(row[i] < 0, slot[i] < 0);
      if (row[i] < 0) { continue; }
      ++kept;
      ASSERT_EQ(token[size_t(row[i])], int(i / 2));
      ASSERT_LE(offsets[size_t(expert[i])], row[i]);
      ASSERT_LT(row[i], offsets[size_t(expert[i]) + 1]);
      ASSERT_LT(slot[i], r.capacity[i / 2 >= 80 ? 2 : i / 2 / 40]);
    }
    EXPECT_EQ(kept, token.size());
    EXPECT_LT(kept, row.size()) << "the test needs drops";
    EXPECT_EQ(offsets.back(), r.rows());
  }
}

TEST(Route, DroplessKeepsEverything) {
  RouterOptions options = kTopTwo;
  options.train = Capacity::dropless();
  Tensor logits = zeros({160, 5});  // with ties to the lower expert, every token wants experts 0 and 1
  options.noise_std = 0;
  Routing r = route(logits, groups_of(kFourGroups), options, true, 1);
  EXPECT_EQ(r.rows(), 320);
  EXPECT_EQ(ints(r.expert_offsets), (std::vector<int>{0, 160, 320, 320, 320, 320}));
  options.train = {.factor = 1, .multiple_of = 1};  // 16 places in each of four groups
  EXPECT_EQ(ints(route(logits, groups_of(kFourGroups), options, true, 1).expert_offsets), (std::vector<int>{0, 64, 128, 128, 128, 128}));
}

template <class T> bool same_bits(const Tensor& whole, int64_t begin, const Tensor& part) {
  return whole.slice(0, begin, begin + part.dim(0)).to_vector<T>() == part.to_vector<T>();
}

TEST(Route, FourMicrobatchesOfOneGroupEqualOneBatchOfFour) {
  const Tensor logits = random_logits(160, 5);
  for (Order order : {Order::random, Order::batch_priority}) {
    for (SecondChoice second : {SecondChoice::argmax, SecondChoice::gumbel}) {
      RouterOptions options = kTopTwo;
      options.order = order;
      options.second = second;
      RandomScope step({.seed = 11, .step = 3, .microbatch = 0});
      Routing batch = route(logits, groups_of(kFourGroups), options, true, 9);
      for (int64_t g = 0; g < 4; ++g) {
        RandomScope microbatch({.seed = 11, .step = 3, .microbatch = uint16_t(g)});
        Routing part = route(packed(logits.slice(0, 40 * g, 40 * g + 40)), groups_of({0, 40}, 0, g), options, true, 9);
        EXPECT_TRUE(same_bits<float>(batch.noisy_logits, 40 * g, part.noisy_logits));
        EXPECT_TRUE(same_bits<float>(batch.probs, 40 * g, part.probs));
        EXPECT_TRUE(same_bits<float>(batch.gate, 40 * g, part.gate));
        EXPECT_TRUE(same_bits<int32_t>(batch.expert, 40 * g, part.expert));
        EXPECT_TRUE(same_bits<int32_t>(batch.slot, 40 * g, part.slot));
      }
    }
  }
}

TEST(Route, NoiseIsDrawnWhileTrainingAndChangesWithStepSiteAndGroup) {
  const Tensor logits = random_logits(40, 5);
  auto noisy = [&](uint32_t step, uint32_t site, int64_t group, bool training = true) {
    RandomScope scope({.seed = 11, .step = step});
    return route(logits, groups_of({0, 40}, 0, group), kTopTwo, training, site).noisy_logits.to_vector<float>();
  };
  EXPECT_EQ(noisy(0, 1, 0), noisy(0, 1, 0));
  EXPECT_NE(noisy(0, 1, 0), noisy(1, 1, 0));
  EXPECT_NE(noisy(0, 1, 0), noisy(0, 2, 0));
  EXPECT_NE(noisy(0, 1, 0), noisy(0, 1, 1));
  EXPECT_EQ(noisy(0, 1, 0, false), logits.to_vector<float>());
  Routing r = route(logits, groups_of({0, 40}), kTopTwo, true, 1);
  EXPECT_EQ(r.noise_std, 0.2);  // noise_std 1 over 5 experts
  EXPECT_NE(r.clean_probs.to_vector<float>(), r.probs.to_vector<float>());
}

TEST(RouterNoise, HasTheMomentsOfItsDistribution) {
  const int64_t T = 20000, E = 5;
  auto moments = [](const Tensor& t) {
    double sum = 0, squares = 0;
    for (double v : t.to_vector<double>()) { sum += v; squares += v * v; }
    double mean = sum / double(t.size());
    return std::pair(mean, squares / double(t.size()) - mean * mean);
  };
  auto [normal_mean, normal_var] = moments(normal_noise(groups_of({0, T}), E, 0.5, {.seed = 1}));
  EXPECT_NEAR(normal_mean, 0, 0.01);
  EXPECT_NEAR(normal_var, 0.25, 0.01);
  auto [gumbel_mean, gumbel_var] = moments(gumbel_noise(groups_of({0, T}), E, {.seed = 1}));
  EXPECT_NEAR(gumbel_mean, 0.57722, 0.02);           // Euler's constant
  EXPECT_NEAR(gumbel_var, 1.644934, 0.05);           // pi^2 / 6
}

// The second expert is drawn from the softmax over the others: 3/4 and 1/4 of the tokens here.
TEST(Route, GumbelSecondChoiceSamplesTheOtherExperts) {
  const int64_t S = 8000;
  std::vector<float> rows;
  for (int64_t s = 0; s < S; ++s) { rows.insert(rows.end(), {0.f, 2.f, std::log(3.f)}); }
  Tensor logits = from_values<float>({S, 3}, rows);
  RouterOptions options{.experts = 3, .experts_per_token = 2, .second = SecondChoice::gumbel, .noise_std = 0};
  auto share_of_best_second = [&](bool training) {
    std::vector<int> expert = ints(route(logits, groups_of({0, S}), options, training, 4).expert);
    int64_t best = 0;
    for (int64_t s = 0; s < S; ++s) {
      EXPECT_EQ(expert[size_t(2 * s)], 1);
      best += expert[size_t(2 * s + 1)] == 2;
    }
    return double(best) / double(S);
  };
  EXPECT_NEAR(share_of_best_second(true), 0.75, 0.02);
  EXPECT_EQ(share_of_best_second(false), 1);
  options.second = SecondChoice::gumbel_always;
  EXPECT_NEAR(share_of_best_second(false), 0.75, 0.02);
}

TEST(Route, RenormalisedGatesSumToOneOverTheKeptChoices) {
  RouterOptions options = kTopTwo;
  options.gates = Gates::renormalised;
  options.train = {.factor = 0.6, .multiple_of = 1};
  Routing r = route(random_logits(160, 5), groups_of(kFourGroups), options, true, 1);
  std::vector<float> gate = r.gate.to_vector<float>();
  std::vector<int> row = ints(r.row);
  int kept[3] = {};
  for (size_t t = 0; t < 160; ++t) {
    int of_token = (row[2 * t] >= 0) + (row[2 * t + 1] >= 0);
    ++kept[of_token];
    EXPECT_NEAR(gate[2 * t] + gate[2 * t + 1], of_token ? 1 : 0, 1e-6);
  }
  EXPECT_TRUE(kept[0] && kept[1] && kept[2]) << "the test needs tokens with no, one and two kept choices";
}

TEST(Route, ZeroRouterIsUniformAndChoosesTheLowerExperts) {
  Routing r = route(zeros({160, 5}), groups_of(kFourGroups), kTopTwo, false, 1);
  for (float p : r.probs.to_vector<float>()) { ASSERT_FLOAT_EQ(p, .2f); }
  std::vector<int> expert = ints(r.expert);
  for (size_t i = 0; i < expert.size(); ++i) { ASSERT_EQ(expert[i], int(i % 2)); }
}

TEST(Route, NanLogitsStillGiveExpertsInRange) {
  Routing r = route(full({40, 5}, NAN), groups_of({0, 40}), kTopTwo, true, 1);
  for (int e : ints(r.expert)) { ASSERT_TRUE(e >= 0 && e < 5); }
}

TEST(Route, NoTokensGiveNoRows) {
  Routing r = route(zeros({0, 5}), groups_of({0}), kTopTwo, true, 1);
  EXPECT_EQ(r.rows(), 0);
  EXPECT_EQ(ints(r.expert_offsets), (std::vector<int>(6, 0)));
}

TEST(Route, TheGateTeachesTheRouterWithOneExpertPerToken) {
  RouterOptions options{.experts = 5, .experts_per_token = 1};
  Tensor logits = requires_grad(random_logits(40, 5));
  backward(sum(route(logits, groups_of({0, 40}), options, true, 1).gate));
  double largest = 0;
  for (double d : grad(logits).to_vector<double>()) { largest = std::max(largest, std::abs(d)); }
  EXPECT_GT(largest, 0.05);
}

TEST(Route, ErrorsCarryShapes) {
  EXPECT_EQ(message_of<ShapeError>([] { route(zeros({40, 4}), groups_of({0, 40}), kTopTwo, true, 1); }),
            "[route] logits must be (T, E) = (40, 5): one row per token of the groups, one column per expert; got (40, 4)");
  EXPECT_EQ(message_of<DTypeError>([] { route(zeros({40, 5}, DType::bf16), groups_of({0, 40}), kTopTwo, true, 1); }),
            "[gating] logits must be f32 or f64, got bf16 (40, 5): cast the tokens to f32 before the router");
  EXPECT_EQ(message_of<UsageError>([] { route_with_noise(zeros({40, 5}), Tensor(), 1, groups_of({0, 40}), kTopTwo, true, 1); }),
            "[route] noise and its standard deviation go together, got no noise and 1");
  EXPECT_EQ(message_of<ShapeError>([] { gate_tokens(zeros({40, 5}), zeros({40, 4}), Tensor(), 2); }),
            "[gating] noise must have the shape of logits (40, 5), got (40, 4)");
  EXPECT_EQ(message_of<UsageError>([] { gate_tokens(zeros({40, 5}), Tensor(), Tensor(), 6); }),
            "[gating] experts per token must be in 1..5 for logits (40, 5), got 6");
  EXPECT_EQ(message_of<UsageError>([] { gate_tokens(zeros({40, 5}), Tensor(), zeros({40, 5}), 1); }),
            "[gating] a Gumbel second choice needs 2 experts per token, got 1");
}

}  // namespace
}  // namespace pumice
