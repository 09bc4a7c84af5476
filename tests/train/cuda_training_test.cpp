// Training on the CUDA device, a card or the SIMT emulator, beside training on the CPU. Builds without CUDA test that they say so.
#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>
#include <numeric>

#include "pumice/data/loader.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/rng.h"
#include "pumice/train/checkpoint.h"
#include "pumice/train/image_text_trainer.h"
#include "../message_of.h"
#include "toy_training.h"

namespace pumice {
namespace {

using testing::Losses;
using testing::message_of;
using testing::Temporary;
using testing::toy_training;

TEST(CudaTraining, WithoutADeviceItSaysSoAndNothingIsWritten) {
  if (cuda_device::count()) { GTEST_SKIP() << "there is a device"; }
  Temporary d;
  ImageTextTraining t = toy_training(d / "run");
  t.device = Device::cuda();
  Losses run;
  const std::string message = message_of<DeviceError>([&] { train_image_text(t, run.observer); });
  EXPECT_NE(message.find(cuda_device::built() ? "Use --device cpu" : "use cpu, or build with -DPUMICE_CUDA=on"), std::string::npos) << message;
  EXPECT_FALSE(std::filesystem::exists(d / "run"));
}

class OnCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda_device::count()) { GTEST_SKIP() << cuda_device::describe(); }
  }
};

Batch toy_batch(const ImageTextTraining& t) {
  auto source = open_pairs(t.train_data, t.data);
  Tokenizer tokenizer = Tokenizer::train({}, {.vocab_size = 257});
  Loader loader(*source, tokenizer, {.batch_size = t.batch_size, .image_size = t.model.image_size, .text_length = t.model.text_length, .seed = 1});
  return loader.next();
}

struct Gradients {
  LossReport report;
  std::vector<std::vector<double>> of;  // parameter by parameter
};
Gradients gradients_on(Device device, const ImageTextTraining& t, const Batch& batch, DType precision) {
  auto model = make_model(t.model, t.seed, DType::f32, device);
  RandomScope scope({.seed = 3, .step = 1});
  model->parameters().zero_gradients();
  Gradients g;
  g.report = accumulate_gradients(*model, batch, t.accum_freq, {.dtype = precision, .training = true, .recompute = t.recompute});
  for (const auto& p : model->parameters().all()) { g.of.push_back(p->leaf().grad.to_vector<double>()); }
  return g;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {  // of a from b, over the length of b
  double difference = 0, length = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    length += b[i] * b[i];
  }
  return std::sqrt(difference) / (std::sqrt(length) + 1e-12);
}

// One step's losses and every parameter's gradient against those of the CPU. In f32 only the order of sums differs. In bf16 activations are rounded
// at the same places, but a sum that falls on the other side of a rounding carries on. Allowed: the difference of losses, and the relative
// difference of all gradients as one vector and of each parameter's.
void expect_equal_gradients(ImageTextTraining t, DType precision, double of_losses, double of_gradients, double of_one) {
  const Batch batch = toy_batch(t);
  const Gradients cpu = gradients_on(Device::cpu(), t, batch, precision), cuda = gradients_on(Device::cuda(), t, batch, precision);
  EXPECT_NEAR(cuda.report.task, cpu.report.task, of_losses);
  EXPECT_NEAR(cuda.report.aux, cpu.report.aux, of_losses);
  EXPECT_EQ(cuda.report.layers.size(), cpu.report.layers.size());
  auto model = make_model(t.model, t.seed);
  const auto& parameters = model->parameters().all();
  std::vector<double> all_cpu, all_cuda;
  for (size_t i = 0; i < parameters.size(); ++i) {
    all_cpu.insert(all_cpu.end(), cpu.of[i].begin(), cpu.of[i].end());
    all_cuda.insert(all_cuda.end(), cuda.of[i].begin(), cuda.of[i].end());
    EXPECT_LT(distance(cuda.of[i], cpu.of[i]), of_one) << parameters[i]->name();
  }
  EXPECT_GT(std::inner_product(all_cpu.begin(), all_cpu.end(), all_cpu.begin(), 0.0), 1e-4) << "there are gradients to compare";
  EXPECT_LT(distance(all_cuda, all_cpu), of_gradients);
}

TEST_F(OnCuda, GradientsOfLimoeEqualThoseOfTheCpu) {
  Temporary d;
  ImageTextTraining t = toy_training(d / "run");
  t.model.dropout = 0.1;
  expect_equal_gradients(t, DType::f32, 1e-5, 5e-6, 1e-4);
  expect_equal_gradients(t, DType::bf16, 2e-2, 0.05, 0.2);
  t.accum_freq = 2;
  t.recompute = true;
  expect_equal_gradients(t, DType::f32, 1e-5, 5e-6, 1e-4);
}

TEST_F(OnCuda, GradientsOfTheRivalsEqualThoseOfTheCpu) {
  Temporary d;
  ImageTextTraining t = toy_training(d / "run");
  t.model = as_architecture(t.model, Architecture::two_tower);
  t.model.image_pooling = Pooling::map;
  t.model.text_pooling = Pooling::token;
  t.model.causal_text = true;
  t.model.loss = Loss::sigmoid;
  expect_equal_gradients(t, DType::f32, 1e-5, 5e-6, 1e-4);
}

TEST_F(OnCuda, TrainsResumesAndRepeatsItself) {
  Temporary d;
  Losses cpu, cuda, again;
  ImageTextTraining t = toy_training(d / "cpu");
  t.schedule.steps = 6;
  t.save_every = 3;
  train_image_text(t, cpu.observer);
  t.device = Device::cuda();
  t.out = d / "cuda";
  train_image_text(t, cuda.observer);
  ASSERT_EQ(cuda.loss.size(), cpu.loss.size());
  for (size_t i = 0; i < cpu.loss.size(); ++i) { EXPECT_NEAR(cuda.loss[i], cpu.loss[i], 2e-3) << "step " << i + 1; }

  t.out = d / "again";
  again.stop_after = 3;
  train_image_text(t, again.observer);
  again.stop_after = 1 << 30;
  t.resume = ImageTextTraining::Resume::always;
  train_image_text(t, again.observer);
  EXPECT_EQ(again.loss, cuda.loss);
  const std::string weights = "/checkpoints/step-000006/model.safetensors";
  EXPECT_EQ(read_file(d / "again" + weights), read_file(d / "cuda" + weights)) << "run to run, bit for bit";

  LoadedImageText here = load_image_text(d / "cuda"), there = load_image_text(d / "cuda", Weights::trained, Device::cuda());
  ImageTextInput input;
  input.pixels = toy_batch(t).pixels;
  const std::vector<double> a = here.model->forward(input, {}).image.to_vector<double>(),
                            b = there.model->forward(input, {}).image.to_vector<double>();
  EXPECT_LT(distance(b, a), 1e-4);
}

}  // namespace
}  // namespace pumice
