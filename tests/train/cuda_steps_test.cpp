// Steps on CUDA without waiting: what the host asks of the device, replayed graphs, and numbers that break. On a card or in the SIMT emulator.
#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>

#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/train/image_text_trainer.h"
#include "../message_of.h"
#include "toy_training.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;
using testing::toy_training;

class CudaSteps : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda_device::count()) { GTEST_SKIP() << cuda_device::describe(); }
    use_graphs(true);
  }
  void TearDown() override { unsetenv("PUMICE_CUDA_GRAPHS"); }
  static void use_graphs(bool on) { setenv("PUMICE_CUDA_GRAPHS", on ? "1" : "0", 1); }

  struct Steps {
    std::vector<double> loss, norm;
    std::vector<cuda_device::Counters> after;  // each step
    std::string weights;
  };
  Steps train(ImageTextTraining t) {
    Steps steps;
    ImageTextObserver observer;
    observer.step = [&](const ImageTextMetrics& m) {
      steps.loss.push_back(m.loss);
      steps.norm.push_back(m.gradient_norm);
      steps.after.push_back(cuda_device::counters());
    };
    t.overwrite = true;
    train_image_text(t, observer);
    char name[64];
    std::snprintf(name, sizeof name, "/checkpoints/step-%06lld/model.safetensors", static_cast<long long>(t.schedule.steps));
    steps.weights = read_file(t.out + name);
    return steps;
  }
  // Captions are cut to three tokens, so that all batches have one shape. Steps between the first and the last are not logged.
  ImageTextTraining training(DType precision) {
    ImageTextTraining t = toy_training(directory_ / "run");
    t.device = Device::cuda();
    t.precision = precision;
    t.model.text_length = 3;
    t.model.dropout = 0.1;
    t.batch_size = 16;
    t.schedule.steps = 7;
    t.log_every = t.save_every = 1000;
    return t;
  }

  Temporary directory_;
};

TEST_F(CudaSteps, NeitherWaitNorAllocate) {
  for (const bool graphs : {false, true}) {
    use_graphs(graphs);
    for (const DType precision : {DType::f32, DType::bf16}) {
      const Steps steps = train(training(precision));
      ASSERT_EQ(steps.after.size(), 7u);
      for (size_t i = graphs ? 3 : 2; i + 1 < steps.after.size(); ++i) {  // the last one is logged
        const auto &before = steps.after[i - 1], &after = steps.after[i];
        EXPECT_EQ(after.waits - before.waits, 0) << name(precision) << " step " << i + 1;
        if (graphs || cuda_device::may_cache()) { EXPECT_EQ(after.allocations, before.allocations) << name(precision) << " step " << i + 1; }
        EXPECT_EQ(after.replays - before.replays, graphs ? 1 : 0) << name(precision) << " step " << i + 1;
        EXPECT_EQ(after.launches - before.launches > 0, !graphs) << name(precision) << " step " << i + 1;
      }
    }
  }
}

TEST_F(CudaSteps, GraphsChangeNoBit) {
  for (const DType precision : {DType::f32, DType::bf16}) {
    ImageTextTraining t = training(precision);
    t.log_every = 4;
    t.ema_decay = 0.9;
    use_graphs(true);
    const int64_t before = cuda_device::counters().replays;
    const Steps with = train(t);
    EXPECT_EQ(cuda_device::counters().replays - before, 4) << "steps 2, 3, 5 and 6";
    use_graphs(false);
    const Steps without = train(t);
    EXPECT_EQ(with.loss, without.loss);
    EXPECT_EQ(with.norm, without.norm);
    EXPECT_EQ(with.weights, without.weights);
  }
}

// Microbatches run forward twice and recompute; Adafactor has rates of its own; SigLIP's towers have two streams.
TEST_F(CudaSteps, GraphsOfOtherTrainingsChangeNoBit) {
  ImageTextTraining t = training(DType::f32);
  t.schedule.steps = 4;
  t.accum_freq = 2;
  t.recompute = true;
  t.optimizer = ImageTextTraining::Optim::adafactor;
  t.schedule.peak = 1e-3;
  t.model = as_architecture(t.model, Architecture::two_tower);
  t.model.image_pooling = Pooling::map;
  t.model.text_pooling = Pooling::token;
  t.model.causal_text = true;
  t.model.loss = Loss::sigmoid;
  const int64_t before = cuda_device::counters().replays;
  const Steps with = train(t);
  EXPECT_GT(cuda_device::counters().replays, before);
  use_graphs(false);
  const Steps without = train(t);
  EXPECT_EQ(with.loss, without.loss);
  EXPECT_EQ(with.weights, without.weights);
}

// Captions of 16 tokens at most, most of them shorter: batches hold another number of words every time.
TEST_F(CudaSteps, MostStepsAreReplayedWhateverTheirTextsAreLong) {
  for (const Architecture architecture : {Architecture::limoe, Architecture::two_tower}) {
    ImageTextTraining t = training(DType::f32);
    t.model = as_architecture(t.model, architecture);
    t.model.text_length = 16;
    t.model.text_pooling = Pooling::map;
    t.batch_size = 8;
    t.schedule.steps = 24;
    const int64_t before = cuda_device::counters().replays;
    const Steps with = train(t);
    EXPECT_GE(cuda_device::counters().replays - before, 16);
    use_graphs(false);
    EXPECT_EQ(with.weights, train(t).weights);
    use_graphs(true);
  }
}

TEST_F(CudaSteps, DropOutAsTheCpuDoes) {
  ImageTextTraining t = training(DType::f32);
  const Steps cuda = train(t);
  t.device = Device::cpu();
  const Steps cpu = train(t);
  for (size_t i = 0; i < cpu.loss.size(); ++i) {
    EXPECT_NEAR(cuda.loss[i], cpu.loss[i], 2e-3) << "step " << i + 1;
    EXPECT_NEAR(cuda.norm[i], cpu.norm[i], 2e-2 * cpu.norm[i]) << "step " << i + 1;
  }
}

TEST_F(CudaSteps, ALossThatBreaksNamesItsStepAndOp) {
  ImageTextTraining t = training(DType::f32);
  t.schedule.peak = 1e30;
  t.schedule.warmup = 0;
  t.overwrite = true;
  const std::string message = message_of<NumericError>([&] { train_image_text(t, {}); });
  EXPECT_NE(message.find("[train] the loss of step 2 is "), std::string::npos) << message;
  EXPECT_NE(message.find("First op with a value that is not finite: ["), std::string::npos) << message;
}

}  // namespace
}  // namespace pumice
