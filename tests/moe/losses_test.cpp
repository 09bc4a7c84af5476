// Auxiliary losses against the numbers of V-MoE's routing_test.py and values worked out by hand; gradients are in losses_cases.cpp.
#include "pumice/moe/losses.h"

#include "../message_of.h"
#include "pumice/autograd/autograd.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "routing_fixture.h"

namespace pumice {
namespace {

using testing::f64_of;
using testing::groups_of;
using testing::logits_of;
using testing::message_of;
using testing::random_logits;

const std::vector<double> kA = {.5, .4, .1, .3, .3, .4, .1, .2, .7, .8, .2, 0};
const std::vector<double> kB = {.9, .06, .04, .7, .18, .12, .85, .05, .1};
const std::vector<double> kNoiseB = {-.037, .026, -.018, -.074, .045, -.015, -.067, -.059, .073};

// No noise, nothing dropped; the last `text` tokens of each group are text.
Routing routing_of(const Tensor& logits, int64_t text = 0, std::vector<int64_t> offsets = {}) {
  if (offsets.empty()) { offsets = {0, logits.dim(0)}; }
  return route(logits, groups_of(offsets, text), {.experts = int(logits.dim(1)), .eval = Capacity::dropless()}, false, 0);
}

TEST(RouterLosses, AreThoseOfTheReferenceImplementation) {
  Routing a = routing_of(logits_of({4, 3}, kA)), text = routing_of(logits_of({4, 3}, kA), 4);
  EXPECT_NEAR(importance_loss(a).item(), 0.03875, 1e-9);
  EXPECT_NEAR(balance_loss(a).item(), 1.0875, 1e-9);
  EXPECT_NEAR(z_loss(routing_of(f64_of({3, 3}, kB))).item(), 2.2390058, 1e-7);
  EXPECT_NEAR(local_entropy_loss(a, Modality::image).item(), 0.8336173, 1e-7);
  EXPECT_NEAR(local_entropy_loss(text, Modality::text).item(), 0.8336173, 1e-7);
  EXPECT_EQ(global_entropy_loss(a, Modality::image, 2).item(), 0);
  EXPECT_NEAR(global_entropy_loss(a, Modality::image, 3).item(), 0.0187417, 1e-7);
  EXPECT_NEAR(global_entropy_loss(text, Modality::text, 3).item(), 0.0187417, 1e-7);
  // without a threshold, local + global is minus the mutual information of experts and tokens
  double global = global_entropy_loss(a, Modality::image, 3).item() - std::log(3.0);
  EXPECT_NEAR(global, -1.0798706, 1e-7);
  EXPECT_NEAR(local_entropy_loss(a, Modality::image).item() + global, -0.246253, 1e-6);
}

TEST(RouterLosses, LoadIsThatOfTheReferenceImplementation) {
  Tensor noise = to_dtype(f64_of({3, 3}, kNoiseB), DType::f32);
  Routing r = route_with_noise(f64_of({3, 3}, kB), noise, .1, groups_of({0, 3}), {.experts = 3, .experts_per_token = 2}, true, 0);
  EXPECT_NEAR(load_loss(r).item(), 0.48573847, 1e-7);
  EXPECT_EQ(message_of<UsageError>([] { load_loss(routing_of(f64_of({3, 3}, kB))); }),
            "[load_loss] the routing had no noise, so no expert's load depends on chance: train with noise_std > 0, or leave this loss out");
}

TEST(RouterLosses, BalanceIsOneWhenUniformAndEAtCollapse) {
  EXPECT_NEAR(balance_loss(routing_of(zeros({8, 4}))).item(), 1, 1e-6);
  std::vector<double> collapsed;
  for (int t = 0; t < 8; ++t) { collapsed.insert(collapsed.end(), {1, 0, 0, 0}); }
  EXPECT_NEAR(balance_loss(routing_of(logits_of({8, 4}, collapsed))).item(), 4, 1e-12);
}

TEST(RouterLosses, GroupScopeIsTheMeanOverGroupsThatHaveTokensOfTheModality) {
  Tensor logits = random_logits(24, 5);
  Routing both = routing_of(logits, 0, {0, 10, 24});
  both.groups.modality = zeros({24}, DType::u8);
  for (int64_t t = 10; t < 16; ++t) { both.groups.modality.data<uint8_t>()[t] = 1; }  // text in the second group only
  auto part = [&](int64_t begin, int64_t end) { return routing_of(packed(logits.slice(0, begin, end))); };
  EXPECT_NEAR(importance_loss(both).item(), (importance_loss(part(0, 10)).item() + importance_loss(part(10, 24)).item()) / 2, 1e-6);
  EXPECT_NEAR(importance_loss(both, LossScope::global).item(), importance_loss(part(0, 24)).item(), 1e-6);
  double of_text = local_entropy_loss(part(10, 16), Modality::image).item();
  EXPECT_NEAR(local_entropy_loss(both, Modality::text).item(), of_text, 1e-6);
  EXPECT_NEAR(local_entropy_loss(both, Modality::text, LossScope::global).item(), of_text, 1e-6);
}

TEST(RouterLosses, AModalityWithoutTokensGivesZeroAndAZeroGradient) {
  Tensor logits = requires_grad(random_logits(6, 3));
  Routing r = routing_of(logits);
  for (const Tensor& loss : {local_entropy_loss(r, Modality::text), global_entropy_loss(r, Modality::text, 2)}) {
    EXPECT_EQ(loss.item(), 0);
    backward(loss);
  }
  EXPECT_EQ(grad(logits).to_vector<float>(), std::vector<float>(18, 0.f));
  EXPECT_EQ(importance_loss(routing_of(zeros({0, 3}), 0, {0})).item(), 0);
}

// V-MoE took sqrt(variance), whose gradient is NaN here (google-research/vmoe, pull request 218).
TEST(RouterLosses, PerfectBalanceHasFiniteGradients) {
  for (const Tensor& start : {zeros({6, 3}), full({6, 3}, 30), f64_of({6, 3}, std::vector<double>(18, -400))}) {
    Tensor logits = requires_grad(start);
    Routing r = route(logits, groups_of({0, 6}, 3), {.experts = 3}, true, 2);
    AuxLosses aux = auxiliary_losses(r, {.losses = {AuxLoss::importance, AuxLoss::load, AuxLoss::z, AuxLoss::balance, AuxLoss::local_image,
                                                    AuxLoss::local_text, AuxLoss::global_image, AuxLoss::global_text}});
    EXPECT_EQ(aux.values.size(), 8u);
    for (auto& [name, value] : aux.values) { EXPECT_TRUE(std::isfinite(value.item())) << name; }
    backward(aux.total);
    for (double g : grad(logits).to_vector<double>()) { EXPECT_TRUE(std::isfinite(g)); }
  }
}

TEST(AuxLosses, TotalIsTheWeightedMeanOfTheActiveOnes) {
  Routing r = routing_of(logits_of({4, 3}, kA), 2);
  AuxLosses aux = auxiliary_losses(r, {});
  std::vector<std::string> names;
  double sum = 0;
  for (auto& [name, value] : aux.values) {
    names.push_back(name);
    sum += value.item();
  }
  EXPECT_EQ(names, (std::vector<std::string>{"importance", "z", "local_text", "global_text", "global_image"})) << "without noise there is no load";
  EXPECT_NEAR(aux.total.item(), 0.04 * sum / 5, 1e-12);
  EXPECT_NEAR(aux.values[0].second.item(), 0.03875, 1e-9);
  Routing noisy = route(random_logits(8, 3), groups_of({0, 8}, 4), {.experts = 3}, true, 1);
  EXPECT_EQ(auxiliary_losses(noisy, {}).values.size(), 6u);
  EXPECT_EQ(auxiliary_losses(r, {.losses = {}}).total.item(), 0);
}

// With noisy_entropies the entropies are those of a router that had said the noisy logits itself; the other losses do not change.
TEST(AuxLosses, EntropiesOfTheNoisyProbabilities) {
  Tensor logits = requires_grad(to_dtype(random_logits(12, 5), DType::f64)),
         noise = to_dtype(mul(random_logits(12, 5, 2), full({}, 0.3)), DType::f32);
  Routing r = route_with_noise(logits, noise, .45, groups_of({0, 12}, 5), {.experts = 5}, true, 0);
  AuxLosses clean = auxiliary_losses(r, {}), noisy = auxiliary_losses(r, {.noisy_entropies = true});
  Tensor said = requires_grad(add(logits.detach(), to_dtype(noise, DType::f64)));
  Routing alone = route(said, groups_of({0, 12}, 5), {.experts = 5}, false, 0);
  for (size_t i = 0; i < noisy.values.size(); ++i) {
    const std::string& name = noisy.values[i].first;
    const double value = noisy.values[i].second.item();
    if (name == "local_text") {
      EXPECT_NEAR(value, local_entropy_loss(alone, Modality::text).item(), 1e-12);
    } else if (name == "global_text") {
      EXPECT_NEAR(value, global_entropy_loss(alone, Modality::text, soft_min_of({}, Modality::text, 5)).item(), 1e-12);
    } else if (name == "global_image") {
      EXPECT_NEAR(value, global_entropy_loss(alone, Modality::image, soft_min_of({}, Modality::image, 5)).item(), 1e-12);
    } else {
      EXPECT_EQ(value, clean.values[i].second.item()) << name;
    }
  }
  EXPECT_NE(noisy.values[3].second.item(), clean.values[3].second.item());
  AuxOptions local{.weight = 1, .losses = {AuxLoss::local_text}, .noisy_entropies = true};
  backward(auxiliary_losses(r, local).total);
  backward(local_entropy_loss(alone, Modality::text));
  std::vector<double> got = grad(logits).to_vector<double>(), want = grad(said).to_vector<double>();
  for (size_t i = 0; i < got.size(); ++i) { EXPECT_NEAR(got[i], want[i], 1e-12); }
}

TEST(AuxLosses, SoftMinimaFollowTheNumberOfExperts) {
  EXPECT_EQ(soft_min_of({}, Modality::text, 64), 9);
  EXPECT_EQ(soft_min_of({}, Modality::image, 64), 20);
  EXPECT_NEAR(soft_min_of({}, Modality::text, 8), 2.24, 1e-12);
  EXPECT_NEAR(soft_min_of({}, Modality::image, 8), 4.96, 1e-12);
  EXPECT_EQ(soft_min_of({}, Modality::text, 2), 1);
  EXPECT_EQ(soft_min_of({.soft_min_text = 3}, Modality::text, 8), 3);
  EXPECT_EQ(message_of<UsageError>([] { soft_min_of({.soft_min_image = 20}, Modality::image, 8); }),
            "[auxiliary_losses] soft_min_image must be in [1, 8], the number of experts, got 20: a modality cannot use more experts than there "
            "are; 0 chooses 4.96");
  EXPECT_EQ(message_of<UsageError>([] { global_entropy_loss(routing_of(zeros({4, 3})), Modality::text, 4); }),
            "[global_entropy_loss] soft_min must be in [1, 3], the number of experts, got 4: more experts than there are cannot be used");
}

TEST(AuxLosses, NamesGoBothWays) {
  AuxOptions o;
  EXPECT_TRUE(o.set_names("z,global_text"));
  EXPECT_EQ(o.names(), (std::vector<std::string>{"z", "global_text"}));
  EXPECT_FALSE(o.set_names("z,entropy"));
  EXPECT_EQ(o.names(), (std::vector<std::string>{"z", "global_text"}));
  EXPECT_TRUE(o.set_names(""));
  EXPECT_TRUE(o.losses.empty());
}

}  // namespace
}  // namespace pumice
