#include "pumice/train/schedule.h"

#include <cmath>
#include <gtest/gtest.h>

#include "pumice/tensor/error.h"

namespace pumice {
namespace {

TEST(Schedule, CosineWithWarmup) {
  Schedule s{.kind = Schedule::kCosine, .peak = 2, .steps = 110, .warmup = 10};
  EXPECT_DOUBLE_EQ(learning_rate(s, 0), 0.2);    // (0 + 1) / 10 of the peak
  EXPECT_DOUBLE_EQ(learning_rate(s, 9), 2);
  EXPECT_DOUBLE_EQ(learning_rate(s, 60), 1);     // half way down
  EXPECT_NEAR(learning_rate(s, 110), 0, 1e-12);
  s.end_fraction = 0.1;
  EXPECT_NEAR(learning_rate(s, 110), 0.2, 1e-12);
}

TEST(Schedule, LinearDecay) {
  Schedule s{.kind = Schedule::kLinear, .peak = 2, .end_fraction = 0.1, .steps = 110, .warmup = 10};
  EXPECT_DOUBLE_EQ(learning_rate(s, 4), 1);
  EXPECT_DOUBLE_EQ(learning_rate(s, 60), 1.1);
  EXPECT_DOUBLE_EQ(learning_rate(s, 110), 0.2);
}

TEST(Schedule, RsqrtWithCooldown) {
  Schedule s{.kind = Schedule::kRsqrt, .peak = 1, .steps = 1000, .warmup = 100, .cooldown = 200, .timescale = 300};
  EXPECT_DOUBLE_EQ(learning_rate(s, 100), 1);
  EXPECT_DOUBLE_EQ(learning_rate(s, 400), 1 / std::sqrt(2.0));          // one timescale after the warm-up
  EXPECT_DOUBLE_EQ(learning_rate(s, 900), 0.5 / std::sqrt(1 + 800.0 / 300));  // keeps falling during the cool-down
  EXPECT_DOUBLE_EQ(learning_rate(s, 1000), 0);
}

// V-MoE: the root is held while the cool-down runs. The rates of a run of 1000 steps, held and falling on.
TEST(Schedule, RsqrtHeldInTheCooldown) {
  Schedule held{.kind = Schedule::kRsqrt, .peak = 1, .steps = 1000, .warmup = 100, .cooldown = 200, .timescale = 300, .hold = true};
  Schedule falling = held;
  falling.hold = false;
  const double table[][3] = {{0, 0.01, 0.01}, {99, 1, 1}, {400, 0.7071068, 0.7071068}, {700, 0.5773503, 0.5773503},
                             {800, 0.5477226, 0.5477226}, {801, 0.5449839, 0.5447117}, {900, 0.2738613, 0.2611165},
                             {950, 0.1369306, 0.1276885}, {999, 0.0027386, 0.0025010}, {1000, 0, 0}};
  for (const auto& [step, with, without] : table) {
    EXPECT_NEAR(learning_rate(held, int64_t(step)), with, 1e-7) << step;
    EXPECT_NEAR(learning_rate(falling, int64_t(step)), without, 1e-7) << step;
  }
  held.cooldown = 950;  // begins inside the warm-up
  EXPECT_NEAR(learning_rate(held, 500), 500 / 950.0, 1e-12);
}

TEST(Schedule, NamesAndErrors) {
  EXPECT_EQ(schedule_kind("rsqrt"), Schedule::kRsqrt);
  try {
    schedule_kind("cosin");
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_STREQ(e.what(), "[schedule] --lr-scheduler must be constant, linear, cosine or rsqrt, got 'cosin'. Did you mean 'cosine'?");
  }
}

}  // namespace
}  // namespace pumice
