// Time and memory of whole training steps (forward, backward, clip, AdamW) of a sparse Qwen2-shaped language model on random tokens.
//   bench_lm_step [fp32|bf16] [key=number ...]      keys: width depth heads kv_heads hidden vocabulary experts length batch steps
// Prints one JSON object: the median and spread of step times, and the peak of activations above weights, gradients and optimizer.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <string>

#include "pumice/tensor/isa.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/rng.h"
#include "pumice/train/language_trainer.h"

namespace {

using namespace pumice;

void measure(int argc, char** argv) {
  std::map<std::string, int64_t> o = {{"width", 256}, {"depth", 6}, {"heads", 8}, {"kv_heads", 4}, {"hidden", 768}, {"vocabulary", 4096},
                                      {"experts", 4}, {"length", 256}, {"batch", 8}, {"steps", 7}};
  DType dtype = DType::f32;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "bf16" || word == "fp32") { dtype = word == "bf16" ? DType::bf16 : DType::f32; }
    else { o.at(word.substr(0, word.find('='))) = std::stoll(word.substr(word.find('=') + 1)); }
  }
  DecoderConfig c{.family = "qwen2", .vocabulary = o["vocabulary"], .width = o["width"], .layers = o["depth"], .hidden = o["hidden"], .heads = o["heads"],
                  .kv_heads = o["kv_heads"], .head_width = o["width"] / o["heads"], .rotary = o["width"] / o["heads"], .qkv_bias = true, .tied = true};
  if (o["experts"] > 0) {
    c.moe_layers = moe_layers_of("sparse", c.layers);
    c.experts.assign(c.moe_layers.size(), o["experts"]);
    c.router.experts_per_token = 2;
    c.router.gates = Gates::renormalised;
  }
  Decoder model(c, 1);
  AdamW optimizer(model.parameters(), {});
  const int64_t B = o["batch"], L = o["length"];
  TokenBatch batch{.ids = to_dtype(random_uniform_tensor({B * L}, 0, double(c.vocabulary), {.seed = 2}), DType::i32)};
  std::vector<int32_t> sequences;
  for (int64_t i = 0; i <= B; ++i) {
    sequences.push_back(int32_t(i * L));
    batch.windows.push_back(i);
  }
  batch.sequences = from_values<int32_t>({B + 1}, sequences);

  const int64_t resident = memory_stats().in_use;
  std::vector<double> times;
  int64_t calls_after_first = 0;
  for (int64_t step = 0; step < o["steps"] + 2; ++step) {
    if (step == 2) { calls_after_first = memory_stats().system_calls; }
    auto start = std::chrono::steady_clock::now();
    RandomScope scope({.seed = 1, .step = uint32_t(step)});
    model.parameters().zero_gradients();
    accumulate_gradients(model, batch, 1, {.dtype = dtype, .training = true}, false);
    double norm = gradient_norm(model.parameters());
    optimizer.step({.learning_rate = 1e-4, .gradient_scale = norm > 1 ? 1 / norm : 1});
    if (step >= 2) { times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count()); }
  }
  std::sort(times.begin(), times.end());
  std::printf(
      "{\"side\": \"pumice\", \"precision\": \"%s\", \"threads\": %d, \"isa\": \"%s\", \"parameters\": %lld, \"ms\": %.2f, \"ms_min\": %.2f, \"ms_max\": %.2f, "
      "\"activation_mib\": %.1f, \"system_allocations_after_two_steps\": %lld}\n",
      dtype == DType::bf16 ? "bf16" : "fp32", thread_count(), name(active_isa()), static_cast<long long>(cost_of(c).parameters),
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
