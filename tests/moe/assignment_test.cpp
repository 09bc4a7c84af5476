#include "pumice/moe/assignment.h"

#include "../message_of.h"
#include "routing_fixture.h"

namespace pumice {
namespace {

using testing::f64_of;
using testing::groups_of;
using testing::ints;
using testing::message_of;

struct Choices {
  Tensor expert, gate;  // (S, K)
};
Choices best_two(const std::vector<std::vector<double>>& gates, int K) {
  std::vector<int32_t> expert;
  std::vector<double> gate;
  for (const std::vector<double>& row : gates) {
    std::vector<double> left = row;
    for (int k = 0; k < K; ++k) {
      size_t best = size_t(std::max_element(left.begin(), left.end()) - left.begin());
      expert.push_back(int32_t(best));
      gate.push_back(row[best]);
      left[best] = -1;
    }
  }
  int64_t S = int64_t(gates.size());
  return {from_values<int32_t>({S, K}, expert), f64_of({S, K}, gate)};
}

Assignment assign(const Choices& c, Order order, int64_t Q, const TokenGroups& groups, int E = 3) {
  return assign_slots(c.expert, c.gate, groups, E, std::vector<int64_t>(size_t(groups.count()), Q), order, {});
}

// vmoe/moe_test.py
const std::vector<std::vector<double>> kThreeTokens = {{.4, 0, .2}, {.5, .1, .4}, {.3, .2, .6}};
// tokens 0 and 2 tie at .5
const std::vector<std::vector<double>> kSixTokens = {{.5, .3, .2}, {.7, .2, .1}, {.5, .4, .1}, {.6, .3, .1}, {.1, .8, .1}, {.2, .2, .6}};

TEST(AssignSlots, TwoChoicesInOrderOfPosition) {
  Assignment a = assign(best_two(kThreeTokens, 2), Order::position, 2, groups_of({0, 3}));
  EXPECT_EQ(ints(best_two(kThreeTokens, 2).expert), (std::vector<int>{0, 2, 0, 2, 2, 0}));
  EXPECT_EQ(ints(a.slot), (std::vector<int>{0, 1, 1, -1, 0, -1}));
  EXPECT_EQ(ints(a.expert_offsets), (std::vector<int>{0, 2, 2, 4}));
  EXPECT_EQ(ints(a.row), (std::vector<int>{0, 3, 1, -1, 2, -1}));
  EXPECT_EQ(ints(a.token_of_row), (std::vector<int>{0, 1, 2, 0}));
}

TEST(AssignSlots, TwoChoicesByBatchPriority) {
  Assignment a = assign(best_two(kThreeTokens, 2), Order::batch_priority, 2, groups_of({0, 3}));
  EXPECT_EQ(ints(a.slot), (std::vector<int>{1, -1, 0, 1, 0, -1}));
}

TEST(AssignSlots, OneChoiceTiesGoToTheEarlierToken) {
  Choices c = best_two(kSixTokens, 1);
  EXPECT_EQ(ints(assign(c, Order::position, 2, groups_of({0, 6})).slot), (std::vector<int>{0, 1, -1, -1, 0, 0}));
  EXPECT_EQ(ints(assign(c, Order::batch_priority, 2, groups_of({0, 6})).slot), (std::vector<int>{-1, 0, -1, 1, 0, 0}));
  // with room for three, token 0 comes before token 2
  EXPECT_EQ(ints(assign(c, Order::batch_priority, 3, groups_of({0, 6})).slot), (std::vector<int>{2, 0, -1, 1, 0, 0}));
}

TEST(AssignSlots, AllFirstChoicesClaimBeforeSecondChoices) {
  // token 0's second choice is expert 1, where tokens 1 and 2 go first, although token 0 is the earliest and the surest
  Choices c = best_two({{.6, .4}, {.45, .55}, {.45, .55}}, 2);
  Assignment a = assign(c, Order::batch_priority, 2, groups_of({0, 3}), 2);
  EXPECT_EQ(ints(a.slot), (std::vector<int>{0, -1, 0, 1, 1, -1}));
}

TEST(AssignSlots, GroupsHaveBuffersOfTheirOwnAndRowsAreSortedByExpertThenGroupThenSlot) {
  Choices c = best_two(kSixTokens, 1);  // experts 0 0 0 0 1 2
  Assignment a = assign(c, Order::position, 1, groups_of({0, 2, 6}));
  EXPECT_EQ(ints(a.slot), (std::vector<int>{0, -1, 0, -1, 0, 0}));
  EXPECT_EQ(ints(a.row), (std::vector<int>{0, -1, 1, -1, 2, 3}));
  EXPECT_EQ(ints(a.token_of_row), (std::vector<int>{0, 2, 4, 5}));
  EXPECT_EQ(ints(a.expert_offsets), (std::vector<int>{0, 2, 3, 4}));
}

TEST(AssignSlots, PriorityOrderEqualsAStableSortOnManyTokens) {
  for (int64_t S : {1, 2, 3, 31, 32, 33, 1000}) {
    std::vector<double> gate(static_cast<size_t>(S));
    for (size_t s = 0; s < gate.size(); ++s) { gate[s] = double(random_bits({.seed = 3}, s) % 17) / 16; }  // many ties
    std::vector<size_t> order(gate.size());
    for (size_t s = 0; s < order.size(); ++s) { order[s] = s; }
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return gate[a] > gate[b]; });
    Choices c{zeros({S, 1}, DType::i32), f64_of({S, 1}, gate)};
    std::vector<int> slot = ints(assign(c, Order::batch_priority, S, groups_of({0, S}), 1).slot);
    for (size_t i = 0; i < order.size(); ++i) { ASSERT_EQ(slot[order[i]], int(i)) << S; }
  }
}

TEST(AssignSlots, RandomOrderIsAPermutationOfTheStepAndTheGroup) {
  const int64_t S = 200;
  Choices c{zeros({2 * S, 1}, DType::i32), f64_of({2 * S, 1}, std::vector<double>(2 * S, .5))};
  auto slots = [&](RandomKey key, int64_t first_group) {
    return ints(assign_slots(c.expert, c.gate, groups_of({0, S, 2 * S}, 0, first_group), 1, {S, S}, Order::random, key).slot);
  };
  std::vector<int> first = slots({.seed = 1, .step = 5}, 0), sorted(first.begin(), first.begin() + S);
  EXPECT_EQ(first, slots({.seed = 1, .step = 5, .microbatch = 3}, 0)) << "the split into microbatches must not matter";
  EXPECT_NE(first, slots({.seed = 1, .step = 6}, 0));
  EXPECT_TRUE(std::equal(first.begin() + S, first.end(), slots({.seed = 1, .step = 5}, 1).begin())) << "group 1 of the batch is group 1";
  EXPECT_FALSE(std::equal(first.begin() + S, first.end(), first.begin()));
  std::sort(sorted.begin(), sorted.end());
  for (int s = 0; s < S; ++s) { ASSERT_EQ(sorted[size_t(s)], s); }
}

TEST(AssignSlots, ErrorsCarryShapes) {
  Choices c = best_two(kThreeTokens, 2);
  EXPECT_EQ(message_of<ShapeError>([&] { assign(c, Order::position, 2, groups_of({0, 4})); }),
            "[assign_slots] expert and gate must be (T, K) with T = 4 tokens in the groups, got (3, 2) and (3, 2)");
  EXPECT_EQ(message_of<ShapeError>([&] { assign_slots(c.expert, c.gate, groups_of({0, 3}), 3, {2, 2}, Order::position, {}); }),
            "[assign_slots] one capacity per group: 1 groups, got 2");
}

TEST(TokenGroups, WholeExamplesAndARaggedLastGroup) {
  EXPECT_EQ(group_offsets({5, 6, 7, 8, 9}, 2), (std::vector<int64_t>{0, 11, 26, 35}));
  EXPECT_EQ(group_offsets({}, 2), (std::vector<int64_t>{0}));
  EXPECT_EQ(message_of<UsageError>([] { group_offsets({5}, 0); }), "[group_offsets] examples_per_group must be at least 1, got 0");
  EXPECT_EQ(message_of<ShapeError>([] { group_offsets({5, 0}, 1); }),
            "[group_offsets] every example needs at least one token, example 1 has 0");
}

TEST(TokenGroups, ErrorsNameTheGroup) {
  TokenGroups groups = groups_of({0, 3});
  groups.offsets = {0, 2, 2, 3};
  EXPECT_EQ(message_of<ShapeError>([&] { require_valid(groups); }), "[groups] every group needs a token, but group 1 spans 2 to 2");
  groups.offsets = {1, 3};
  EXPECT_EQ(message_of<ShapeError>([&] { require_valid(groups); }), "[groups] offsets must start with 0, got 1");
  groups.offsets = {0, 4};
  EXPECT_EQ(message_of<ShapeError>([&] { require_valid(groups); }), "[groups] modality must be (T) = (4), got (3)");
  groups.modality = zeros({4}, DType::i32);
  EXPECT_EQ(message_of<DTypeError>([&] { require_valid(groups); }), "[groups] modality must be u8, got i32 (4)");
  groups.modality = Tensor();
  EXPECT_EQ(message_of<ShapeError>([&] { require_valid(groups); }),
            "[groups] modality is missing: one u8 per token, 0 image or 1 text");
  EXPECT_EQ(message_of<ShapeError>([&] { require_valid(groups_of({0, 3}, 0, 262144)); }),
            "[groups] a batch holds at most 2^18 = 262144 groups, got groups 262144 to 262145: put more examples into a group");
}

}  // namespace
}  // namespace pumice
