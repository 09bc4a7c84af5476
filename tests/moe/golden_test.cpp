// Routing and losses against published numbers: V-MoE's own unit tests and values worked out by hand from the formulas.
#include <cmath>
#include <gtest/gtest.h>

#include "pumice/autograd/autograd.h"
#include "pumice/autograd/gradcheck.h"
#include "pumice/moe/dispatch.h"
#include "pumice/moe/losses.h"
#include "pumice/moe/routing.h"
#include "pumice/moe/stats.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

TokenGroups one_group(int64_t tokens, std::vector<uint8_t> modality = {}) {
  TokenGroups g;
  g.offsets = {0, tokens};
  if (modality.empty()) { modality.assign(size_t(tokens), 0); }
  g.modality = from_values<uint8_t>({tokens}, modality);
  return g;
}

// Logits whose softmax is proportional to `gates`, which is all that assignment looks at.
Tensor logits_of(const std::vector<std::vector<double>>& gates) {
  std::vector<double> z;
  for (const auto& row : gates) {
    for (double g : row) { z.push_back(g > 0 ? std::log(g) : -30); }
  }
  return from_values<double>({int64_t(gates.size()), int64_t(gates[0].size())}, z);
}

Routing route_with(const std::vector<std::vector<double>>& gates, int K, Order order, double factor) {
  RouterOptions o;
  o.experts = int(gates[0].size());
  o.experts_per_token = K;
  o.order = order;
  o.noise_std = 0;
  o.eval = {.factor = factor, .multiple_of = 1};
  return route(logits_of(gates), one_group(int64_t(gates.size())), o, false, 0);
}

TEST(Capacity, Goldens) {
  EXPECT_EQ(capacity_of(32, 32, 2, {.factor = 1}), 4);
  EXPECT_EQ(capacity_of(8 * 197, 8, 2, {.factor = 1.05}), 416);
  EXPECT_EQ(capacity_of(8 * 212, 32, 1, {.factor = 1.05}), 56);
}

// Gates of V-MoE's moe_test.py; three tokens, K = 2, capacity 2.
const std::vector<std::vector<double>> kVmoe = {{.4, .0, .2}, {.5, .1, .4}, {.3, .2, .6}};

TEST(Assignment, VmoeGoldenInPositionOrder) {
  // The rows are not normalised there; scaling a row changes no order within it, and position order compares no rows.
  Routing r = route_with(kVmoe, 2, Order::position, 1);
  EXPECT_EQ(r.capacity[0], 2);
  EXPECT_EQ(r.expert.to_vector<int32_t>(), (std::vector<int32_t>{0, 2, 0, 2, 2, 0}));
  EXPECT_EQ(r.slot.to_vector<int32_t>(), (std::vector<int32_t>{0, 1, 1, -1, 0, -1}));
}

const std::vector<std::vector<double>> kSix = {{.5, .3, .2}, {.7, .2, .1}, {.5, .4, .1}, {.6, .3, .1}, {.1, .8, .1}, {.2, .2, .6}};

TEST(Assignment, BatchPriorityGolden) {
  EXPECT_EQ(route_with(kSix, 1, Order::position, 1).slot.to_vector<int32_t>(), (std::vector<int32_t>{0, 1, -1, -1, 0, 0}));
  EXPECT_EQ(route_with(kSix, 1, Order::batch_priority, 1).slot.to_vector<int32_t>(), (std::vector<int32_t>{-1, 0, -1, 1, 0, 0}));
}

TEST(Assignment, EqualTokensKeepTheirOrderAndEqualExpertsTheLower) {
  Routing r = route_with({{.5, .5}, {.5, .5}, {.5, .5}}, 1, Order::batch_priority, 1);  // ceil(3 / 2) = 2 places
  EXPECT_EQ(r.expert.to_vector<int32_t>(), (std::vector<int32_t>{0, 0, 0}));
  EXPECT_EQ(r.slot.to_vector<int32_t>(), (std::vector<int32_t>{0, 1, -1}));
}

TEST(Assignment, FirstChoicesComeBeforeAllSecondOnes) {
  // Token 0's second choice and token 1's first want expert 1; there is one place.
  Routing r = route_with({{.6, .4}, {.3, .7}}, 2, Order::position, .5);
  EXPECT_EQ(r.expert.to_vector<int32_t>(), (std::vector<int32_t>{0, 1, 1, 0}));
  EXPECT_EQ(r.slot.to_vector<int32_t>(), (std::vector<int32_t>{0, -1, 0, -1}));
}

TEST(Dispatch, RowsAreSortedByExpertAndADroppedTokenAddsNothing) {
  Routing r = route_with(kSix, 1, Order::batch_priority, 1);
  EXPECT_EQ(r.expert_offsets.to_vector<int32_t>(), (std::vector<int32_t>{0, 2, 3, 4}));
  EXPECT_EQ(r.token_of_row.to_vector<int32_t>(), (std::vector<int32_t>{1, 3, 4, 5}));
  Tensor x = to_dtype(random_normal_tensor({6, 3}, 0, 1, {.seed = 1}), DType::f64);
  std::vector<double> y = combine(dispatch(x, r), r).to_vector<double>(), in = x.to_vector<double>();
  const double kept[6] = {0, .7, 0, .6, .8, .6};
  for (int t = 0; t < 6; ++t) {
    for (int c = 0; c < 3; ++c) { EXPECT_NEAR(y[t * 3 + c], kept[t] * in[t * 3 + c], 1e-12); }
  }
}

// The dense definition (V-MoE's einsum dispatcher): out[t] = sum over experts and slots of gate * [t sits there] * expert output.
TEST(Dispatch, EqualsTheDenseOneHotForm) {
  for (int K : {1, 2}) {
    Routing r = route_with(kSix, K, Order::batch_priority, .7);
    const int64_t T = 6, E = 3, Q = r.capacity[0];
    Tensor x = to_dtype(random_normal_tensor({T, 4}, 0, 1, {.seed = 2}), DType::f64);
    std::vector<double> in = x.to_vector<double>(), gate = r.gate.to_vector<double>(), want(T * 4);
    std::vector<int32_t> expert = r.expert.to_vector<int32_t>(), slot = r.slot.to_vector<int32_t>();
    std::vector<double> mask(T * E * Q), weight(T * E * Q), buffer(E * Q * 4);
    for (int64_t t = 0; t < T; ++t) {
      for (int k = 0; k < K; ++k) {
        if (slot[t * K + k] < 0) { continue; }
        mask[(t * E + expert[t * K + k]) * Q + slot[t * K + k]] = 1;
        weight[(t * E + expert[t * K + k]) * Q + slot[t * K + k]] = gate[t * K + k];
      }
    }
    auto expert_function = [](int64_t e, double v) { return v * double(e + 1); };
    for (int64_t q = 0; q < E * Q; ++q) {
      for (int64_t t = 0; t < T; ++t) {
        for (int c = 0; c < 4; ++c) { buffer[q * 4 + c] += mask[t * E * Q + q] * in[t * 4 + c]; }
      }
    }
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t q = 0; q < E * Q; ++q) {
        for (int c = 0; c < 4; ++c) { want[t * 4 + c] += weight[t * E * Q + q] * expert_function(q / Q, buffer[q * 4 + c]); }
      }
    }
    Tensor rows = dispatch(x, r);
    std::vector<int32_t> offsets = r.expert_offsets.to_vector<int32_t>();
    for (int64_t e = 0; e < E; ++e) {
      for (int64_t i = offsets[e] * 4; i < offsets[e + 1] * 4; ++i) { rows.data<double>()[i] = expert_function(e, rows.data<double>()[i]); }
    }
    std::vector<double> got = combine(rows, r).to_vector<double>();
    for (size_t i = 0; i < got.size(); ++i) { EXPECT_NEAR(got[i], want[i], 1e-12) << "K=" << K; }
  }
}

TEST(Dispatch, GradientsReachTokensAndGates) {
  auto f = [](const std::vector<Tensor>& in) {
    RouterOptions o;
    o.experts = 3;
    o.experts_per_token = 2;
    o.noise_std = 0;
    o.eval = {.factor = .7, .multiple_of = 1};
    Routing r = route(in[1], one_group(6), o, false, 0);
    return std::vector{combine(dispatch(in[0], r), r)};
  };
  Tensor x = to_dtype(random_normal_tensor({6, 4}, 0, 1, {.seed = 2}), DType::f64);
  // no ties: at one, the choice of experts is a step
  GradcheckResult g = gradcheck(f, {x, logits_of({{.5, .3, .2}, {.7, .2, .1}, {.45, .4, .15}, {.6, .3, .1}, {.12, .8, .08}, {.25, .15, .6}})});
  EXPECT_TRUE(g.ok) << g.worst << " " << g.message;
}

TEST(Routing, MicrobatchesOfWholeGroupsDrawTheSameNoise) {
  RouterOptions o;
  o.experts = 4;
  Tensor logits = random_normal_tensor({24, 4}, 0, 1, {.seed = 5});
  RandomScope scope({.seed = 7, .step = 3});
  TokenGroups all;
  all.offsets = {0, 6, 12, 18, 24};
  all.modality = zeros({24}, DType::u8);
  for (Order order : {Order::batch_priority, Order::random}) {
    o.order = order;
    Routing whole = route(logits, all, o, true, 11);
    for (int g = 0; g < 4; ++g) {
      TokenGroups part = one_group(6);
      part.first_group = g;
      Routing r = route(logits.slice(0, 6 * g, 6 * g + 6), part, o, true, 11);
      EXPECT_EQ(r.probs.to_vector<double>(), whole.probs.slice(0, 6 * g, 6 * g + 6).to_vector<double>());
      EXPECT_EQ(r.slot.to_vector<int32_t>(), whole.slot.slice(0, 6 * g, 6 * g + 6).to_vector<int32_t>());
    }
  }
}

TEST(Routing, DroplessKeepsEverythingAndARaggedGroupHasItsOwnCapacity) {
  RouterOptions o;
  o.experts = 2;
  o.noise_std = 0;
  o.eval = {.factor = 0};
  TokenGroups g;
  g.offsets = {0, 8, 11};
  g.modality = zeros({11}, DType::u8);
  Tensor logits = zeros({11, 2});
  Routing r = route(logits, g, o, false, 0);
  for (int32_t s : r.slot.to_vector<int32_t>()) { EXPECT_GE(s, 0); }
  o.eval = {.factor = 1, .multiple_of = 1};
  r = route(logits, g, o, false, 0);
  EXPECT_EQ(r.capacity, (std::vector<int64_t>{4, 2}));
  RoutingStats stats = collect_stats(r);
  EXPECT_NEAR(stats.image().success_rate(), 6.0 / 11, 1e-12);  // all tie for expert 0
  EXPECT_NEAR(stats.image().effective_experts(), 2, 1e-6);
}

// ---- losses

const std::vector<std::vector<double>> kA = {{.5, .4, .1}, {.3, .3, .4}, {.1, .2, .7}, {.8, .2, 0}};
const std::vector<std::vector<double>> kB = {{.9, .06, .04}, {.7, .18, .12}, {.85, .05, .1}}, kNoise = {{-.037, .026, -.018}, {-.074, .045, -.015}, {-.067, -.059, .073}};

Tensor matrix(const std::vector<std::vector<double>>& rows) {
  std::vector<double> flat;
  for (const auto& row : rows) { flat.insert(flat.end(), row.begin(), row.end()); }
  return from_values<double>({int64_t(rows.size()), int64_t(rows[0].size())}, flat);
}

double loss_of(AuxLoss loss, const Tensor& logits, const std::vector<uint8_t>& modality = {}, AuxOptions options = {}) {
  RouterOptions o;
  o.experts = int(logits.dim(1));
  o.noise_std = 0;
  options.losses = {loss};
  options.weight = 1;
  Routing r = route(logits, one_group(logits.dim(0), modality), o, false, 0);
  AuxLosses aux = auxiliary_losses(r, options);
  EXPECT_NEAR(aux.total.item(), aux.values[0].second, 1e-12);
  return aux.values[0].second;
}

TEST(AuxLosses, Goldens) {
  EXPECT_NEAR(loss_of(AuxLoss::importance, logits_of(kA)), 0.03875, 1e-9);
  EXPECT_NEAR(loss_of(AuxLoss::balance, logits_of(kA)), 1.0875, 1e-9);
  EXPECT_NEAR(loss_of(AuxLoss::z, matrix(kB)), 2.2390058, 1e-7);
  EXPECT_NEAR(loss_of(AuxLoss::local_image, logits_of(kA)), 0.8336173, 1e-7);
  EXPECT_NEAR(loss_of(AuxLoss::global_image, logits_of(kA), {}, {.soft_min_image = 2}), 0, 1e-12);
  EXPECT_NEAR(loss_of(AuxLoss::global_image, logits_of(kA), {}, {.soft_min_image = 3}), 0.0187417, 1e-7);
  EXPECT_NEAR(loss_of(AuxLoss::local_text, logits_of(kA), {1, 1, 1, 1}), 0.8336173, 1e-7);
}

Routing with_noise(const Tensor& logits, const Tensor& noise, double sigma, int K) {
  RouterOptions o;
  o.experts = int(logits.dim(1));
  o.experts_per_token = K;
  o.noise_std = 0;
  Routing r = route(logits, one_group(logits.dim(0)), o, false, 0);
  Tensor noisy = zeros(logits.shape(), DType::f64);
  copy_into(noisy, logits);
  add_into(noisy, noise);
  r.noisy_logits = noisy;
  r.noise_std = sigma;
  return r;
}

TEST(AuxLosses, LoadGolden) {
  AuxLosses aux = auxiliary_losses(with_noise(matrix(kB), matrix(kNoise), .1, 2), {.weight = 1, .losses = {AuxLoss::load}});
  EXPECT_NEAR(aux.values[0].second, 0.48573847, 1e-8);
}

TEST(AuxLosses, ClosedFormGradientsAgainstCentralDifferences) {
  const std::vector<uint8_t> modality = {0, 1, 1, 0, 1};
  Tensor z = to_dtype(random_normal_tensor({5, 4}, 0, 1, {.seed = 4}), DType::f64), noise = to_dtype(random_normal_tensor({5, 4}, 0, .3, {.seed = 6}), DType::f64);
  for (AuxLoss loss : {AuxLoss::importance, AuxLoss::load, AuxLoss::z, AuxLoss::balance, AuxLoss::local_image, AuxLoss::local_text, AuxLoss::global_image, AuxLoss::global_text}) {
    auto f = [&](const std::vector<Tensor>& in) {
      Routing r = with_noise(in[0], noise, loss == AuxLoss::load ? .3 : 0, 2);
      r.groups.modality = from_values<uint8_t>({5}, modality);
      return std::vector{auxiliary_losses(r, {.weight = 1, .losses = {loss}, .soft_min_image = 4, .soft_min_text = 4}).total};
    };
    GradcheckResult g = gradcheck(f, {z});
    EXPECT_TRUE(g.ok) << name(loss) << " " << g.worst << " " << g.message;
  }
}

TEST(AuxLosses, NothingBreaksAtPerfectBalance) {
  Tensor z = requires_grad(zeros({6, 3}));
  RouterOptions o;
  o.experts = 3;
  RandomScope scope({.seed = 1});
  Routing r = route(z, one_group(6, {0, 0, 0, 1, 1, 1}), o, true, 2);
  AuxLosses aux = auxiliary_losses(r, {});
  EXPECT_EQ(aux.values.size(), 6u);
  backward(aux.total);
  for (double g : grad(z).to_vector<double>()) { EXPECT_TRUE(std::isfinite(g)); }
}

TEST(AuxLosses, TotalIsTheWeightedMeanOfTheActiveOnes) {
  RouterOptions o;
  o.experts = 3;
  o.noise_std = 0;
  Routing r = route(logits_of(kA), one_group(4, {0, 0, 1, 1}), o, false, 0);
  AuxLosses aux = auxiliary_losses(r, {});
  EXPECT_EQ(aux.values.size(), 5u);  // without noise there is no load loss
  double sum = 0;
  for (auto& [name, value] : aux.values) { sum += value; }
  EXPECT_NEAR(aux.total.item(), 0.04 * sum / 5, 1e-12);
}

}  // namespace
}  // namespace pumice
