// Time and memory of whole training steps (forward, backward, clip, AdamW) on random pictures and captions.
//   bench_limoe_step PRESET [fp32|bf16] [dense] [STEPS]
// Prints one JSON object: the median and spread of step times, and the peak of activations above weights, gradients and optimizer;
// with PUMICE_PROFILE=1 also a table of the kernels' times.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>

#include "pumice/data/loader.h"
#include "pumice/models/limoe.h"
#include "pumice/tensor/flags.h"
#include "pumice/tensor/isa.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/profile.h"
#include "pumice/tensor/rng.h"
#include "pumice/train/image_text_trainer.h"

namespace {

using namespace pumice;

void measure(int argc, char** argv) {
  ImageTextConfig config = limoe_preset(argc > 1 ? argv[1] : "tiny");
  DType dtype = DType::f32;
  int steps = 15;
  for (int i = 2; i < argc; ++i) {
    if (!std::strcmp(argv[i], "bf16")) { dtype = DType::bf16; }
    else if (!std::strcmp(argv[i], "dense")) { config.dense_twin = true; }
    else if (std::strcmp(argv[i], "fp32") && (steps = std::atoi(argv[i])) < 1) {
      throw std::invalid_argument(std::string(argv[i]) + ": expected fp32, bf16, dense or a number of steps");
    }
  }
  const int64_t B = config.preset == "micro" ? 8 : 128, words = 10;
  Limoe model(config, 1);
  AdamW optimizer(model.parameters(), {});
  Batch batch;
  batch.pixels = to_dtype(random_uniform_tensor({B, config.image_size, config.image_size, 3}, 0, 256, {.seed = 1}), DType::u8);
  std::vector<int32_t> offsets;
  std::vector<int64_t> ids;
  for (int64_t i = 0; i <= B; ++i) { offsets.push_back(int32_t(i * words)); }
  for (int64_t i = 0; i < B; ++i) { ids.push_back(i); }
  batch.tokens = to_dtype(random_uniform_tensor({B * words}, 0, double(config.vocabulary), {.seed = 2}), DType::i32);
  batch.text_offsets = from_values<int32_t>({B + 1}, offsets);
  batch.caption_ids = from_values<int64_t>({B}, ids);

  const int64_t resident = memory_stats().in_use;
  std::vector<double> times;
  int64_t calls_after_first = 0;
  for (int step = 0; step < steps + 3; ++step) {
    if (step == 2) { calls_after_first = memory_stats().system_calls; }
    if (step == 3) { reset_profile(); }
    auto start = std::chrono::steady_clock::now();
    RandomScope scope({.seed = 1, .step = uint32_t(step)});
    model.parameters().zero_gradients();
    accumulate_gradients(model, batch, 1, {.dtype = dtype, .training = true, .reports = false});
    double norm = gradient_norm(model.parameters());
    optimizer.step({.learning_rate = 1e-3, .gradient_scale = norm > 1 ? 1 / norm : 1});
    if (step >= 3) { times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count()); }
  }
  if (flags::profile()) { std::fputs(profile_table().c_str(), stderr); }
  std::sort(times.begin(), times.end());
  std::printf(
      "{\"side\": \"pumice\", \"preset\": \"%s\", \"dense\": %s, \"precision\": \"%s\", \"threads\": %d, \"isa\": \"%s\", "
      "\"ms\": %.2f, \"ms_min\": %.2f, \"ms_max\": %.2f, \"activation_mib\": %.1f, \"system_allocations_after_two_steps\": %lld}\n",
      config.preset.c_str(), config.dense_twin ? "true" : "false", dtype == DType::bf16 ? "bf16" : "fp32", thread_count(), name(active_isa()),
      times[times.size() / 2], times.front(), times.back(), double(memory_stats().peak - resident) / (1 << 20),
      static_cast<long long>(memory_stats().system_calls - calls_after_first));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    measure(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
