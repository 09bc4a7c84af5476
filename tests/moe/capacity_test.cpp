#include "../message_of.h"
#include "pumice/moe/policy.h"

namespace pumice {
namespace {

using testing::message_of;

TEST(Capacity, IsThatOfTheReferenceImplementation) {
  EXPECT_EQ(capacity_of(32, 32, 2, {.factor = 1}), 4);  // 2 places, up to a multiple of 4
  EXPECT_EQ(capacity_of(8 * 197, 8, 2, {.factor = 1.05}), 416);
  EXPECT_EQ(capacity_of(8 * 212, 32, 1, {.factor = 1.05}), 56);
}

TEST(Capacity, RoundingAndMultiple) {
  using enum Capacity::Rounding;
  EXPECT_EQ(capacity_of(10, 4, 1, {.factor = 1, .rounding = ceil, .multiple_of = 1}), 3);             // 2.5
  EXPECT_EQ(capacity_of(10, 4, 1, {.factor = 1, .rounding = round_half_even, .multiple_of = 1}), 2);  // 2.5 to even
  EXPECT_EQ(capacity_of(14, 4, 1, {.factor = 1, .rounding = round_half_even, .multiple_of = 1}), 4);  // 3.5 to even
  EXPECT_EQ(capacity_of(14, 4, 1, {.factor = 1, .rounding = ceil, .multiple_of = 3}), 6);
  EXPECT_EQ(capacity_of(100, 4, 2, {.factor = 1.5, .multiple_of = 1}), 75);  // MoE-LLaVA: ceil(0.75 S)
  EXPECT_EQ(capacity_of(1, 4, 2, {.factor = 1.5, .multiple_of = 1}), 1);
}

TEST(Capacity, DroplessHoldsEveryToken) {
  EXPECT_EQ(capacity_of(77, 8, 2, Capacity::dropless()), 77);
  EXPECT_EQ(capacity_of(0, 8, 2, {.factor = 1}), 0);
}

TEST(Capacity, ErrorsCarryTheNumbers) {
  EXPECT_EQ(message_of<UsageError>([] { capacity_of(8, 32, 1, {.factor = 1, .rounding = Capacity::Rounding::round_half_even}); }),
            "[capacity] an expert needs at least 1 place, but 8 tokens * 1 choices * factor 1 / 32 experts = 0.25 rounds to 0: "
            "raise the factor, group more tokens, or round up (ceil)");
  EXPECT_EQ(message_of<UsageError>([] { capacity_of(8, 2, 3, {}); }),
            "[capacity] a group needs tokens >= 0 and 1 <= experts per token <= experts, got 8 tokens, 3 of 2 experts");
  EXPECT_EQ(message_of<UsageError>([] { capacity_of(8, 2, 1, {.factor = -1}); }),
            "[capacity] factor must be a finite number >= 0 (0 drops nothing) and multiple_of >= 1, got factor -1 and multiple_of 4");
  EXPECT_EQ(message_of<UsageError>([] { capacity_of(8, 2, 1, {.factor = 1, .multiple_of = 0}); }),
            "[capacity] factor must be a finite number >= 0 (0 drops nothing) and multiple_of >= 1, got factor 1 and multiple_of 0");
  EXPECT_EQ(message_of<UsageError>([] { capacity_of(8, 2, 1, {.factor = 1e9}); }),
            "[capacity] factor 1e+09 gives 4e+09 places per expert, more than 2^30: use factor 0 to drop nothing");
}

TEST(RouterOptions, ErrorsSayWhichOptionDoesNotFit) {
  EXPECT_EQ(message_of<UsageError>([] { require_valid(RouterOptions{.experts = 0}); }), "[router] experts must be at least 1, got 0");
  EXPECT_EQ(message_of<UsageError>([] { require_valid(RouterOptions{.experts = 4, .experts_per_token = 5}); }),
            "[router] experts_per_token must be in 1..4 (the number of experts), got 5");
  EXPECT_EQ(message_of<UsageError>([] { require_valid(RouterOptions{.noise_std = -1}); }),
            "[router] noise_std must be a finite number >= 0 (0 turns noise off), got -1");
  EXPECT_EQ(message_of<UsageError>([] { require_valid(RouterOptions{.gates = Gates::renormalised}); }),
            "[router] renormalised gates need experts_per_token >= 2, got 1: one gate divided by itself is 1 whatever the router says, "
            "so the router would never learn; use raw gates");
  EXPECT_EQ(message_of<UsageError>([] { require_valid(RouterOptions{.experts_per_token = 3, .second = SecondChoice::gumbel}); }),
            "[router] a Gumbel second choice needs experts_per_token = 2, got 3: use argmax");
}

}  // namespace
}  // namespace pumice
