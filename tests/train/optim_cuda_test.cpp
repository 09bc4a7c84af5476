// Optimizers on the CUDA device (a card or the emulator) take the steps of the CPU.
#include <cmath>
#include <functional>
#include <gtest/gtest.h>

#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"
#include "pumice/train/optim/adafactor.h"
#include "pumice/train/optim/adamw.h"

namespace pumice {
namespace {

class OptimizersOnCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device::count() == 0) { GTEST_SKIP() << "no CUDA device: " << cuda_device::describe(); }
  }
};

// Odd sizes, so that ranges of the arena end within a vector of four; experts, which are factored one by one.
void fill_store(ParameterStore& store) {
  store.add("first", {3}, Init::normal(1), false);
  store.add("frozen", {2}, Init::normal(1), false);
  store.add("experts", {3, 70, 33}, Init::normal(1), true);
  store.add("bias", {1}, Init::normal(1), false);
  store.add("matrix", {5, 301}, Init::normal(1), true);
  store.pack();
}

void expect_near(const Tensor& got, const Tensor& want, const std::string& what) {
  const std::vector<double> a = got.to_vector<double>(), b = want.to_vector<double>();
  ASSERT_EQ(a.size(), b.size()) << what;
  const double relative = want.dtype() == DType::bf16 ? 8e-3 : 2e-6;  // one step of a bf16
  for (size_t i = 0; i < a.size(); ++i) { ASSERT_NEAR(a[i], b[i], 2e-6 + relative * std::abs(b[i])) << what << " " << i; }
}

using Make = std::function<std::unique_ptr<Optimizer>(ParameterStore&, std::vector<ParameterPlan>)>;

void expect_same_steps(const std::string& what, const Make& make) {
  ParameterStore here(1), there(1, DType::f32, Device::cuda());
  std::vector<std::unique_ptr<Optimizer>> optimizers;
  for (ParameterStore* store : {&here, &there}) {
    fill_store(*store);
    std::vector<ParameterPlan> plan = plan_parameters(*store, {.lr_mult = {"bias=0.1"}, .freeze = {"frozen"}});
    optimizers.push_back(make(*store, plan));
  }
  WeightAverage average_here(here, 0.9), average_there(there, 0.9);
  for (uint32_t t = 1; t <= 3; ++t) {
    Tensor g = random_normal_tensor({here.arena_size()}, 0, 2, {.seed = t});
    copy_into(here.gradients(), g);
    copy_into(there.gradients(), to_device(g, Device::cuda()));
    EXPECT_NEAR(gradient_norm(there), gradient_norm(here), 1e-9 * gradient_norm(here)) << what;
    for (auto& o : optimizers) { o->step({.learning_rate = 0.01, .schedule = 0.1, .gradient_scale = 0.5}); }
    average_here.update();
    average_there.update();
  }
  expect_near(there.masters(), here.masters(), what + ": weights");
  expect_near(average_there.values(), average_here.values(), what + ": average");
  for (size_t i = 0; i < optimizers[0]->state().size(); ++i) {
    expect_near(optimizers[1]->state()[i].second, optimizers[0]->state()[i].second, what + ": " + optimizers[0]->state()[i].first);
  }
}

TEST_F(OptimizersOnCuda, AdamWTakesTheSameSteps) {
  expect_same_steps("AdamW", [](ParameterStore& s, std::vector<ParameterPlan> plan) { return std::make_unique<AdamW>(s, AdamWOptions{}, plan); });
}

TEST_F(OptimizersOnCuda, AdafactorTakesTheSameSteps) {
  for (double beta1 : {0.9, 0.0}) {
    for (DType momentum : {DType::f32, DType::bf16}) {
      const AdafactorOptions options{.beta1 = beta1, .momentum = momentum};
      expect_same_steps(concat_text("Adafactor beta1=", beta1, " momentum ", name(momentum)),
                        [&](ParameterStore& s, std::vector<ParameterPlan> plan) { return std::make_unique<Adafactor>(s, options, plan); });
    }
  }
}

// More than one block of squares (65536), and a rest.
TEST_F(OptimizersOnCuda, GradientNormOfManyElements) {
  ParameterStore store(1, DType::f32, Device::cuda());
  store.add("w", {70001}, Init::zeros(), false);
  store.pack();
  fill(store.find("w")->leaf().grad, 0.5);  // not the gap behind it
  EXPECT_NEAR(gradient_norm(store), 0.5 * std::sqrt(70001.0), 1e-9);
}

}  // namespace
}  // namespace pumice
