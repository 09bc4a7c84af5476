// Time and memory of whole training steps (forward, backward, clip, AdamW) on random pictures and captions.
//   bench_limoe_step PRESET [fp32|bf16] [dense] [cuda] [batch=N] [STEPS]
// Prints one JSON object: the median and spread of step times, and the peak of activations above weights, gradients and optimizer;
// with PUMICE_PROFILE=1 also a table of the kernels' times. On cuda steps are uploaded, recorded and replayed as the trainer does.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "pumice/data/loader.h"
#include "pumice/models/limoe.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/flags.h"
#include "pumice/tensor/isa.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/profile.h"
#include "pumice/tensor/rng.h"
#include "pumice/tensor/upload.h"
#include "pumice/train/image_text_trainer.h"
#include "pumice/train/optim/adamw.h"
#include "pumice/train/optim/optimizer_kernels.h"
#include "pumice/train/step_graphs.h"

namespace {

using namespace pumice;

constexpr double kRate = 1e-3, kClip = 1;
constexpr int64_t kWords = 10;  // of a caption
constexpr int kWarmUp = 3;      // on CUDA the first step runs, the second is recorded, the third is the first replay

struct Settings {
  ImageTextConfig config;
  DType dtype = DType::f32;
  Device device;
  int64_t batch;
  int steps = 15;
};

Settings parse(int argc, char** argv) {
  Settings s{.config = limoe_preset(argc > 1 ? argv[1] : "tiny")};
  s.batch = s.config.preset == "micro" ? 8 : 128;
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "bf16") { s.dtype = DType::bf16; }
    else if (word == "dense") { s.config.dense_twin = true; }
    else if (word == "cuda") { s.device = Device::cuda(); }
    else if (word.starts_with("batch=") && std::atoi(word.c_str() + 6) > 1) { s.batch = std::atoi(word.c_str() + 6); }
    else if (word != "fp32" && (s.steps = std::atoi(argv[i])) < 1) {
      throw std::invalid_argument(word + ": expected fp32, bf16, dense, cuda, batch=N with N > 1, or a number of steps");
    }
  }
  s.config.group_examples = std::min(s.config.group_examples, s.batch);
  return s;
}

Batch random_batch(const Settings& s) {
  const ImageTextConfig& c = s.config;
  Batch batch;
  batch.pixels = to_dtype(random_uniform_tensor({s.batch, c.image_size, c.image_size, 3}, 0, 256, {.seed = 1}), DType::u8);
  std::vector<int32_t> offsets;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i <= s.batch; ++i) { offsets.push_back(int32_t(i * kWords)); }
  for (int64_t i = 0; i < s.batch; ++i) { ids.push_back(i); }
  batch.tokens = to_dtype(random_uniform_tensor({s.batch * kWords}, 0, double(c.vocabulary), {.seed = 2}), DType::i32);
  batch.text_offsets = from_values<int32_t>({s.batch + 1}, offsets);
  batch.caption_ids = from_values<int64_t>({s.batch}, ids);
  return batch;
}

class Steps {
 public:
  virtual ~Steps() = default;
  virtual void step(uint32_t number) = 0;
};

class CpuSteps : public Steps {
 public:
  CpuSteps(Limoe& model, AdamW& optimizer, const Batch& batch, DType dtype) : model_(model), optimizer_(optimizer), batch_(batch), dtype_(dtype) {}
  void step(uint32_t number) override {
    const RandomScope scope({.seed = 1, .step = number});
    model_.parameters().zero_gradients();
    accumulate_gradients(model_, batch_, 1, {.dtype = dtype_, .training = true, .reports = false});
    const double norm = gradient_norm(model_.parameters());
    optimizer_.step({.learning_rate = kRate, .gradient_scale = norm > kClip ? kClip / norm : 1});
  }

 private:
  Limoe& model_;
  AdamW& optimizer_;
  const Batch& batch_;
  DType dtype_;
};

// train/image_text_steps.h without a run around it: the batch of the next step is copied beside this one, and a step is one replay.
class CudaSteps : public Steps {
 public:
  CudaSteps(Limoe& model, AdamW& optimizer, const Batch& batch, DType dtype)
      : model_(model), optimizer_(optimizer), batch_(batch), dtype_(dtype), device_(model.parameters().device()), upload_(device_),
        state_(zeros({int64_t(sizeof(StepState))}, DType::u8, device_)), losses_(zeros({2}, DType::f64, device_)) {
    prepare(0);
  }
  void step(uint32_t number) override {
    upload_.arrive();
    if (upload_.moves() != moves_) { graphs_.forget(); }
    moves_ = upload_.moves();
    const StepInput input = std::move(input_);
    const StepNumbers* numbers = reinterpret_cast<const StepNumbers*>(to_device(numbers_, device_).data<uint8_t>());
    graphs_.run(input.shape(), true, [&] { work(input, numbers); });
    optimizer_.set_steps(int64_t(number) + 1);
    prepare(number + 1);
    cuda_device::synchronize();
  }

 private:
  void prepare(uint32_t number) {
    const auto [first, second] = optimizer_.numbers_of(int64_t(number) + 1);
    const StepNumbers numbers{.learning_rate = kRate, .schedule = 1, .of_optimizer = {first, second}, .step = number};
    numbers_ = empty({int64_t(sizeof numbers)}, DType::u8);
    std::memcpy(numbers_.raw(), &numbers, sizeof numbers);
    input_ = step_input(model_, batch_, 1, true, true);
    std::vector<Tensor> tensors = input_.tensors();
    tensors.insert(tensors.begin(), numbers_);
    upload_.start(std::move(tensors));
  }
  void work(const StepInput& input, const StepNumbers* numbers) {
    const RandomScope scope({.seed = 1, .step_at = &numbers->step});
    ParameterStore& parameters = model_.parameters();
    parameters.changed();
    parameters.zero_gradients();
    const LossTensors losses = launch_gradients(model_, input, {.dtype = dtype_, .training = true, .reports = false});
    copy_into(losses_.slice(0, 0, 1), losses.task.reshape({1}));
    if (losses.aux.defined()) { copy_into(losses_.slice(0, 1, 2), losses.aux.reshape({1})); }
    StepState* state = reinterpret_cast<StepState*>(state_.data<uint8_t>());
    clip_on_device(parameters, losses_, kClip, state);
    optimizer_.step_on_device({numbers, state});
  }

  Limoe& model_;
  AdamW& optimizer_;
  const Batch& batch_;
  DType dtype_;
  Device device_;
  Upload upload_;
  int64_t moves_ = 0;
  StepGraphs graphs_;
  Tensor state_, losses_, numbers_;
  StepInput input_;
};

void measure(const Settings& s) {
  if (s.device != Device::cpu()) { cuda_device::require(s.device); }
  Limoe model(s.config, 1, DType::f32, s.device);
  AdamW optimizer(model.parameters(), {});
  const Batch batch = random_batch(s);
  const int64_t resident = memory_stats(s.device).in_use;
  std::unique_ptr<Steps> steps;
  if (s.device == Device::cpu()) { steps = std::make_unique<CpuSteps>(model, optimizer, batch, s.dtype); }
  else { steps = std::make_unique<CudaSteps>(model, optimizer, batch, s.dtype); }

  std::vector<double> times;
  int64_t calls_after_first = 0;
  for (int step = 0; step < s.steps + kWarmUp; ++step) {
    if (step == kWarmUp - 1) { calls_after_first = memory_stats(s.device).system_calls; }
    if (step == kWarmUp) { reset_profile(); }
    const auto start = std::chrono::steady_clock::now();
    steps->step(uint32_t(step));
    if (step >= kWarmUp) { times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count()); }
  }
  if (flags::profile()) { std::fputs(profile_table().c_str(), stderr); }
  std::sort(times.begin(), times.end());
  const ImageTextCost cost = cost_of(s.config);
  const double macs = double(s.batch) * (cost.image_macs + cost.text_macs * double(kWords) / double(s.config.text_length));
  std::printf(
      "{\"side\": \"pumice\", \"preset\": \"%s\", \"dense\": %s, \"precision\": \"%s\", \"batch\": %lld, \"threads\": %d, \"isa\": \"%s\", "
      "\"ms\": %.2f, \"ms_min\": %.2f, \"ms_max\": %.2f, \"gflop\": %.1f, \"activation_mib\": %.1f, \"system_allocations_after_two_steps\": %lld}\n",
      s.config.preset.c_str(), s.config.dense_twin ? "true" : "false", s.dtype == DType::bf16 ? "bf16" : "fp32", static_cast<long long>(s.batch),
      thread_count(), s.device == Device::cpu() ? name(active_isa()) : "cuda", times[times.size() / 2], times.front(), times.back(), 6e-9 * macs,
      double(memory_stats(s.device).peak - resident) / (1 << 20), static_cast<long long>(memory_stats(s.device).system_calls - calls_after_first));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    measure(parse(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
