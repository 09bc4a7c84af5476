// Optimizers on the CUDA device (a card or the emulator) take the steps of the CPU.
#include <cmath>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>

#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"
#include "pumice/train/optim/adafactor.h"
#include "pumice/train/optim/adamw.h"
#include "pumice/train/optim/optimizer_kernels.h"

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

// A step whose numbers lie on the device.
struct StepThere {
  Tensor numbers = empty({int64_t(sizeof(StepNumbers))}, DType::u8), losses = zeros({2}, DType::f64, Device::cuda());
  Tensor state_tensor = zeros({int64_t(sizeof(StepState))}, DType::u8, Device::cuda());
  StepState* state = reinterpret_cast<StepState*>(state_tensor.data<uint8_t>());

  void take(ParameterStore& store, Optimizer& optimizer, double rate, double schedule, double clip) {
    const auto [first, second] = optimizer.numbers_of(optimizer.steps() + 1);
    const StepNumbers n{.learning_rate = rate, .schedule = schedule, .of_optimizer = {first, second}};
    std::memcpy(numbers.raw(), &n, sizeof n);
    const Tensor there = to_device(numbers, Device::cuda());
    clip_on_device(store, losses, clip, state);
    optimizer.step_on_device({reinterpret_cast<const StepNumbers*>(there.data<uint8_t>()), state});
  }
};

void expect_same_steps(const std::string& what, const Make& make) {
  ParameterStore here(1), there(1, DType::f32, Device::cuda()), told(1, DType::f32, Device::cuda());
  std::vector<std::unique_ptr<Optimizer>> optimizers;
  for (ParameterStore* store : {&here, &there, &told}) {
    fill_store(*store);
    std::vector<ParameterPlan> plan = plan_parameters(*store, {.lr_mult = {"bias=0.1"}, .freeze = {"frozen"}});
    optimizers.push_back(make(*store, plan));
  }
  WeightAverage average_here(here, 0.9), average_there(there, 0.9), average_told(told, 0.9);
  StepThere step;
  for (uint32_t t = 1; t <= 3; ++t) {
    Tensor g = random_normal_tensor({here.arena_size()}, 0, 2, {.seed = t});
    copy_into(here.gradients(), g);
    copy_into(there.gradients(), to_device(g, Device::cuda()));
    copy_into(told.gradients(), there.gradients());
    const double norm = gradient_norm(here);
    EXPECT_NEAR(gradient_norm(there), norm, 1e-9 * norm) << what;
    for (auto& o : {optimizers[0].get(), optimizers[1].get()}) { o->step({.learning_rate = 0.01, .schedule = 0.1, .gradient_scale = 0.5}); }
    step.take(told, *optimizers[2], 0.01, 0.1, norm / 2);
    average_told.update(step.state);
    average_here.update();
    average_there.update();
  }
  expect_near(told.masters(), here.masters(), what + ": weights of a step whose numbers lie on the device");
  expect_near(average_told.values(), average_here.values(), what + ": their average");
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

TEST_F(OptimizersOnCuda, NothingMovesOnceALossIsNotFinite) {
  ParameterStore store(1, DType::f32, Device::cuda());
  fill_store(store);
  AdamW adamw(store, {});
  WeightAverage average(store, 0.9);
  StepThere step;
  fill(store.gradients(), 1);
  fill(step.losses, NAN);
  const std::vector<float> weights = store.masters().to_vector<float>();
  for (int i = 0; i < 2; ++i) {  // nor in the steps after it, whatever their losses
    step.take(store, adamw, 1, 1, 0);
    average.update(step.state);
    fill(step.losses, 0);
  }
  EXPECT_EQ(store.masters().to_vector<float>(), weights);
  EXPECT_EQ(average.values().to_vector<float>(), weights);
  EXPECT_EQ(adamw.state()[0].second.to_vector<float>(), std::vector<float>(weights.size(), 0.0f));
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
