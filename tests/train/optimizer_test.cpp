#include "pumice/train/optim/optimizer.h"

#include <cmath>
#include <gtest/gtest.h>

#include "pumice/tensor/parallel.h"
#include "pumice/tensor/rng.h"
#include "pumice/train/optim/adafactor.h"
#include "pumice/train/optim/adamw.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

// big_vision's variant with factoring forced, two equal gradients: the values of a hand-checked example.
TEST(Adafactor, Golden) {
  ParameterStore store(1);
  store.add("w", {2, 3}, Init::zeros(), true);
  store.pack();
  Adafactor optimizer(store, {.min_dim_to_factor = 2, .weight_decay = 0});
  for (int i = 0; i < 6; ++i) { store.gradients().data<float>()[i] = float(i + 1); }
  const double u[] = {.618347, .946864, 1.140175, 1.054656, 1.009361, .972345}, m2[] = {.117486, .179904, .216633, .200385, .191779, .184746};
  optimizer.step({.learning_rate = 1});
  for (int i = 0; i < 6; ++i) { EXPECT_NEAR(-store.masters().data<float>()[i], 0.1 * u[i], 1e-6); }
  optimizer.step({.learning_rate = 1});
  const Tensor m = optimizer.state()[1].second.slice(0, 0, 6);
  for (int i = 0; i < 6; ++i) { EXPECT_NEAR(m.data<float>()[i], m2[i], 1e-6); }
}

// The same with a momentum kept in bf16: what is kept is rounded, what the weights move by is not (optax.ema with accumulator_dtype).
TEST(Adafactor, MomentumInBf16Golden) {
  ParameterStore store(1);
  store.add("w", {2, 3}, Init::zeros(), true);
  store.pack();
  Adafactor optimizer(store, {.momentum = DType::bf16, .min_dim_to_factor = 2, .weight_decay = 0});
  for (int i = 0; i < 6; ++i) { store.gradients().data<float>()[i] = float(i + 1); }
  const Tensor m = optimizer.state()[1].second.slice(0, 0, 6);
  ASSERT_EQ(m.dtype(), DType::bf16);
  optimizer.step({.learning_rate = 1});
  EXPECT_EQ(m.to_vector<double>(), (std::vector<double>{0.061767578125, 0.0947265625, 0.1142578125, 0.10546875, 0.10107421875, 0.09716796875}));
  optimizer.step({.learning_rate = 1});
  EXPECT_EQ(m.to_vector<double>(), (std::vector<double>{0.1171875, 0.1796875, 0.216796875, 0.2001953125, 0.1923828125, 0.1845703125}));
  const double moved[] = {0.1792602, 0.2746267, 0.3308671, 0.3058531, 0.2928389, 0.2819201};
  for (int i = 0; i < 6; ++i) { EXPECT_NEAR(-store.masters().data<float>()[i], moved[i], 1e-6) << i; }
  EXPECT_EQ(message_of<DTypeError>([&] { Adafactor broken(store, {.momentum = DType::f64}); }),
            "[adafactor] the momentum is kept in f32 or bf16, got f64");
}

// Five steps against the formula in f64: experts are factored one by one, biases and small matrices are not.
TEST(Adafactor, FollowsTheFormula) {
  ParameterStore store(1);
  const int64_t E = 3, R = 70, C = 5;
  store.add("experts", {E, R, C}, Init::normal(1), true);
  store.add("bias", {E, R}, Init::normal(1), false);
  store.add("small", {2, R}, Init::normal(1), true);
  store.add("scalar", {}, Init::ones(), false);
  store.pack();
  AdafactorOptions options{.min_dim_to_factor = 5, .weight_decay = 0.3};
  Adafactor optimizer(store, options);
  const int64_t n = store.size(), experts = E * R * C, decays_to = experts;
  EXPECT_EQ(optimizer.state()[0].second.size(), E * (R + C) + E * R + 2 * R + 1);
  std::vector<int64_t> at;  // in the arena, which has gaps
  std::vector<double> p, m(n), v(n), row(E * R), col(E * C);
  for (const auto& parameter : store.all()) {
    for (int64_t k = 0; k < parameter->size(); ++k) {
      at.push_back(parameter->arena_offset() + k);
      p.push_back(store.masters().data<float>()[at.back()]);
    }
  }
  for (int t = 1; t <= 5; ++t) {
    std::vector<double> g(n);
    for (int64_t i = 0; i < n; ++i) {
      float& gradient = store.gradients().data<float>()[at[size_t(i)]];
      gradient = float(std::sin(double(i) + 7.0 * t));
      g[i] = 0.5 * double(gradient);
    }
    const double b2 = std::min(0.999, 1 - std::pow(double(t), -0.8)), lr = 0.01 * t, schedule = 0.1 * t;
    optimizer.step({.learning_rate = lr, .schedule = schedule, .gradient_scale = 0.5});
    for (int64_t e = 0; e < E; ++e) {
      double mean = 0;
      for (int64_t r = 0; r < R; ++r) {
        double sum = 0;
        for (int64_t c = 0; c < C; ++c) { sum += std::pow(g[(e * R + r) * C + c], 2) + 1e-30; }
        row[e * R + r] = b2 * row[e * R + r] + (1 - b2) * sum / double(C);
        mean += row[e * R + r] / double(R);
      }
      for (int64_t c = 0; c < C; ++c) {
        double sum = 0;
        for (int64_t r = 0; r < R; ++r) { sum += std::pow(g[(e * R + r) * C + c], 2) + 1e-30; }
        col[e * C + c] = b2 * col[e * C + c] + (1 - b2) * sum / double(R);
        for (int64_t r = 0; r < R; ++r) {
          const int64_t i = (e * R + r) * C + c;
          m[i] = 0.9 * m[i] + 0.1 * g[i] / std::sqrt(row[e * R + r] / mean) / std::sqrt(col[e * C + c]);
        }
      }
      mean = 0;
    }
    for (int64_t i = experts; i < n; ++i) {
      v[i] = b2 * v[i] + (1 - b2) * (g[i] * g[i] + 1e-30);
      m[i] = 0.9 * m[i] + 0.1 * g[i] / std::sqrt(v[i]);
    }
    for (int64_t i = 0; i < n; ++i) {
      const bool decays = i < decays_to || (i >= experts + E * R && i < n - 1);
      p[i] -= lr * m[i] + (decays ? schedule * 0.3 * p[i] : 0);
      ASSERT_NEAR(store.masters().data<float>()[at[size_t(i)]], p[i], 5e-6) << "step " << t << " element " << i;
    }
  }
}

TEST(Optimizers, DoNotDependOnTheThreadCount) {
  std::vector<float> results[2];
  for (int threads : {1, 2}) {
    set_thread_count(threads);
    ParameterStore store(1);
    store.add("w", {300, 130}, Init::normal(1), true);
    store.add("b", {70001}, Init::normal(1), false);
    store.pack();
    Adafactor optimizer(store, {});
    WeightAverage average(store, 0.9);
    for (uint32_t t = 0; t < 3; ++t) {
      copy_into(store.gradients(), random_uniform_tensor({store.arena_size()}, -1, 1, {.seed = 4, .step = t}));
      optimizer.step({.learning_rate = 0.1});
      average.update();
    }
    results[threads - 1] = average.values().to_vector<float>();
  }
  set_thread_count(2);
  EXPECT_EQ(results[0], results[1]);
}

TEST(WeightAverage, Decays) {
  ParameterStore store(1);
  Parameter* w = store.add("w", {2}, Init::ones(), true);
  store.pack();
  WeightAverage average(store, 0.75);
  fill(w->change(), 3);
  average.update();
  average.update();
  EXPECT_FLOAT_EQ(average.values().data<float>()[0], 0.75f * (0.75f * 1 + 0.25f * 3) + 0.25f * 3);
  EXPECT_TRUE(message_of<UsageError>([&] { WeightAverage broken(store, 1.5); }).find("must be in (0, 1)") != std::string::npos);
}

TEST(Glob, StarsAndQuestionMarks) {
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("blocks.*.moe.*", "blocks.11.moe.router.weight"));
  EXPECT_FALSE(glob_matches("blocks.*.moe.*", "blocks.11.mlp.up.weight"));
  EXPECT_TRUE(glob_matches("*a*b?", "xxaxbxbz"));
  EXPECT_FALSE(glob_matches("image", "image.head"));
  EXPECT_FALSE(glob_matches("?", ""));
}

struct Names {
  ParameterStore store{1};
  Names() {
    for (const char* name :
         {"image.patches.weight", "blocks.0.mlp.up.weight", "blocks.1.mlp.up.weight", "blocks.2.mlp.up.weight", "norm.weight", "image.head.weight"}) {
      store.add(name, {4, 4}, Init::ones(), std::string(name) != "norm.weight");
    }
    store.pack();
  }
};

TEST(Groups, RatesDecayAndFreezing) {
  Names n;
  std::vector<ParameterPlan> plan =
      plan_parameters(n.store, {.lr_mult = {"blocks.*=0.5", "blocks.1.*=2"}, .freeze = {"image.patches.*"}, .layer_decay = 0.5});
  std::vector<double> lr;
  for (const ParameterPlan& p : plan) { lr.push_back(p.lr); }
  EXPECT_EQ(lr, (std::vector<double>{0.125, 0.125, 1, 0.5, 1, 1}));
  EXPECT_TRUE(plan[0].frozen);
  EXPECT_FALSE(plan[4].decay);
  EXPECT_TRUE(plan[5].decay);
  EXPECT_EQ(describe(plan, n.store).size(), 4u);
  EXPECT_TRUE(describe(plan_parameters(n.store, {}), n.store).empty());
  EXPECT_TRUE(plan_parameters(n.store, {.decay = {"norm.*"}})[4].decay);
  EXPECT_FALSE(plan_parameters(n.store, {.decay = {"norm.*"}})[5].decay);
  auto message = [&](const GroupOptions& o) { return message_of<UsageError>([&] { plan_parameters(n.store, o); }); };
  EXPECT_NE(message({.freeze = {"norm.weigt"}}).find("--freeze 'norm.weigt' matches no parameter. Did you mean 'norm.weight'?"), std::string::npos);
  EXPECT_NE(message({.lr_mult = {"blocks.*"}}).find("must be GLOB=FACTOR"), std::string::npos);
  EXPECT_NE(message({.freeze = {"*"}}).find("leaves no parameter to train"), std::string::npos);
}

TEST(Groups, FrozenParametersStayAndNeedNoGradient) {
  Names n;
  const std::vector<float> before = n.store.masters().to_vector<float>();
  AdamW optimizer(n.store, {}, plan_parameters(n.store, {.lr_mult = {"norm.*=0"}, .freeze = {"blocks.*"}}));
  fill(n.store.gradients(), 1);
  optimizer.step({.learning_rate = 0.1});
  const std::vector<float> after = n.store.masters().to_vector<float>();
  for (size_t i = 0; i < before.size(); ++i) { EXPECT_EQ(before[i] == after[i], i >= 16 && i < 80) << i; }
  EXPECT_EQ(n.store.unreached().size(), 3u);
}

}  // namespace
}  // namespace pumice
