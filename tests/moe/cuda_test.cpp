// Routing on the CUDA device (a card or the emulator) makes the same decisions as on the CPU.
#include <gtest/gtest.h>

#include "pumice/moe/router_noise.h"
#include "pumice/moe/stats.h"
#include "pumice/tensor/cuda_device.h"
#include "../message_of.h"
#include "routing_fixture.h"

namespace pumice {
namespace {

using testing::groups_of;
using testing::ints;
using testing::message_of;
using testing::random_logits;

class MoeOnCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device::count() == 0) { GTEST_SKIP() << "no CUDA device: " << cuda_device::describe(); }
  }
};

void expect_equal(const Assignment& got, const Assignment& want, const std::string& what) {
  EXPECT_EQ(ints(got.slot), ints(want.slot)) << what;
  EXPECT_EQ(ints(got.row), ints(want.row)) << what;
  EXPECT_EQ(ints(got.expert_offsets), ints(want.expert_offsets)) << what;
  std::vector<int> tokens = ints(want.token_of_row);  // on CUDA there are as many rows as there can be
  EXPECT_GE(got.token_of_row.size(), want.token_of_row.size()) << what;
  tokens.resize(size_t(got.token_of_row.size()), -1);
  EXPECT_EQ(ints(got.token_of_row), tokens) << what;
}

// Gates of few different values tie often; groups shorter than a warp, around a block of 512 tokens, and of several.
TEST_F(MoeOnCuda, AssignsTheSameSlots) {
  const TokenGroups groups = groups_of({0, 1, 20, 531, 1043, 1556, 3000}, 0, 2);
  const int64_t T = groups.tokens();
  for (int K : {1, 2}) {
    for (int E : {1, 5, 300}) {
      if (K > E) { continue; }
      std::vector<int32_t> expert(size_t(T * K));
      std::vector<float> gate(size_t(T * K));
      for (size_t i = 0; i < expert.size(); ++i) {
        expert[i] = int32_t(random_bits({.seed = 5}, i) % uint32_t(E));
        gate[i] = float(random_bits({.seed = 6}, i) % 97) / 97;
      }
      Tensor e = from_values<int32_t>({T, K}, expert), g = from_values<float>({T, K}, gate);
      for (Order order : {Order::position, Order::random, Order::batch_priority}) {
        for (int64_t Q : {3, 100000}) {
          auto assign = [&](Device device) {
            return assign_slots(to_device(e, device), to_device(g, device), groups, E, std::vector<int64_t>(6, Q), order, {.seed = 1, .step = 3});
          };
          expect_equal(assign(Device::cuda()), assign(Device::cpu()), concat_text("K=", K, " E=", E, " order ", int(order), " places ", Q));
        }
      }
    }
  }
}

TEST_F(MoeOnCuda, MoreExpertsThanABlockCanCountAreRefused) {
  Tensor expert = to_device(zeros({4, 1}, DType::i32), Device::cuda()), gate = to_device(zeros({4, 1}), Device::cuda());
  EXPECT_EQ(message_of<UsageError>([&] { assign_slots(expert, gate, groups_of({0, 4}), 4000, {4}, Order::position, {}); }),
            "[assign_slots] at most 1408 experts on cuda:0, got 4000: their counters must fit a block's shared memory");
}

TEST_F(MoeOnCuda, DrawsTheSameNoise) {
  const TokenGroups groups = groups_of({0, 7, 90, 700}, 0, 3);
  for (int E : {1, 4, 7, 32}) {
    Tensor normal = normal_noise(groups, E, 0.5, {.seed = 4, .step = 2}), gumbel = gumbel_noise(groups, E, {.seed = 4});
    Tensor normal_there = normal_noise(groups, E, 0.5, {.seed = 4, .step = 2}, Device::cuda());
    Tensor gumbel_there = gumbel_noise(groups, E, {.seed = 4}, Device::cuda());
    const std::vector<float> a = normal.to_vector<float>(), b = normal_there.to_vector<float>();
    const std::vector<float> c = gumbel.to_vector<float>(), d = gumbel_there.to_vector<float>();
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_NEAR(a[i], b[i], 2e-6) << i;
      ASSERT_NEAR(c[i], d[i], 1e-5) << i;
    }
  }
}

TEST_F(MoeOnCuda, RoutesAlike) {
  const TokenGroups groups = groups_of({0, 40, 100, 233}, 12);
  for (bool gumbel : {false, true}) {
    RouterOptions options{.experts = 6, .experts_per_token = 2, .train = {.factor = 0.8, .multiple_of = 1}, .gates = Gates::renormalised,
                          .second = gumbel ? SecondChoice::gumbel : SecondChoice::argmax};
    Tensor logits = random_logits(groups.tokens(), 6);
    Routing here = route(logits, groups, options, true, 9), there = route(to_device(logits, Device::cuda()), groups, options, true, 9);
    EXPECT_EQ(ints(there.expert), ints(here.expert));
    EXPECT_EQ(ints(there.row), ints(here.row));
    const std::vector<float> a = here.gate.to_vector<float>(), b = there.gate.to_vector<float>();
    for (size_t i = 0; i < a.size(); ++i) { ASSERT_NEAR(a[i], b[i], 1e-5); }
    const auto stats = collect_stats(here).values(), stats_there = collect_stats(there).values();
    ASSERT_EQ(stats.size(), stats_there.size());
    for (size_t i = 0; i < stats.size(); ++i) { EXPECT_NEAR(stats[i].second, stats_there[i].second, 1e-5) << stats[i].first; }
  }
}

}  // namespace
}  // namespace pumice
