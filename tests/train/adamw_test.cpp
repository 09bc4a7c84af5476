#include "pumice/train/optim/adamw.h"

#include <cmath>
#include <gtest/gtest.h>

#include "pumice/tensor/isa.h"
#include "pumice/tensor/parallel.h"

namespace pumice {
namespace {

// Three steps against the formula in f64: a matrix decays, a bias does not.
TEST(AdamW, FollowsTheFormula) {
  ParameterStore store(1);
  Parameter* w = store.add("w", {3, 5}, Init::normal(1), true);
  Parameter* b = store.add("b", {5}, Init::normal(1), false);
  store.pack();
  AdamWOptions options{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.3};
  AdamW adam(store, options);
  auto at = [&](int i) { return i < 15 ? i : int(b->arena_offset()) + i - 15; };
  std::vector<double> p, m(20), v(20);
  for (int i = 0; i < 20; ++i) { p.push_back(store.masters().data<float>()[at(i)]); }
  for (int t = 1; t <= 3; ++t) {
    for (int i = 0; i < 20; ++i) { store.gradients().data<float>()[at(i)] = float(std::sin(i + 7.0 * t)); }
    adam.step({.learning_rate = 0.01 * t, .gradient_scale = 0.5});
    for (int i = 0; i < 20; ++i) {
      double g = 0.5 * double(float(std::sin(i + 7.0 * t)));
      m[i] = 0.8 * m[i] + 0.2 * g;
      v[i] = 0.95 * v[i] + 0.05 * g * g;
      double update = m[i] / (1 - std::pow(0.8, t)) / (std::sqrt(v[i] / (1 - std::pow(0.95, t))) + 1e-6);
      p[i] -= 0.01 * t * (update + (i < 15 ? 0.3 : 0.0) * p[i]);
      EXPECT_NEAR(store.masters().data<float>()[at(i)], p[i], 2e-6) << "step " << t << " element " << i;
    }
  }
  EXPECT_EQ(w->master().data<float>(), store.masters().data<float>());
  EXPECT_EQ(b->arena_offset(), 16);
}

TEST(AdamW, ComputeCopyFollowsTheMaster) {
  ParameterStore store(1);
  Parameter* w = store.add("w", {4}, Init::ones(), true);
  store.pack();
  EXPECT_EQ(w->value(DType::bf16).to_vector<float>()[0], 1.0f);
  AdamW adam(store, {.weight_decay = 0});
  store.gradients().data<float>()[0] = 1;
  adam.step({.learning_rate = 0.5, .gradient_scale = 1});
  EXPECT_NEAR(w->value(DType::bf16).to_vector<float>()[0], 0.5, 1e-2);
}

TEST(GradientNorm, SumsInFixedBlocks) {
  ParameterStore store(1);
  store.add("w", {200003}, Init::zeros(), true);
  store.pack();
  float* g = store.gradients().data<float>();
  double want = 0;
  for (int64_t i = 0; i < 200003; ++i) {
    g[i] = float(i % 7) * 1e-3f;
    want += double(g[i]) * double(g[i]);
  }
  double two = gradient_norm(store);
  EXPECT_NEAR(two, std::sqrt(want), 1e-9);
  set_thread_count(1);
  EXPECT_EQ(gradient_norm(store), two);
  set_thread_count(2);
}

}  // namespace
}  // namespace pumice
