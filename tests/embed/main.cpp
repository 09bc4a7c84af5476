// Trains a small LIMoE on eight random pictures with eight captions of random tokens, inside another program: no files, no trainer.
// Ends with 0 when the model has learned which caption belongs to which picture.
#include <cstdio>

#include "pumice/models/limoe.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/loss/contrastive.h"
#include "pumice/tensor/rng.h"
#include "pumice/train/optim/adamw.h"

int main() {
  using namespace pumice;
  ImageTextConfig config = limoe_preset("micro");
  config.moe_layers = {1, 3};
  config.router.experts = 4;
  Limoe model(config, /*seed=*/1);
  AdamW optimizer(model.parameters(), {});

  const int64_t B = 8, words = 5;
  ImageTextInput input;
  input.pixels = to_dtype(random_uniform_tensor({B, config.image_size, config.image_size, 3}, 0, 256, {.seed = 1}), DType::u8);
  input.tokens = to_dtype(random_uniform_tensor({B * words}, 0, double(config.vocabulary), {.seed = 2}), DType::i32);
  std::vector<int32_t> offsets;
  std::vector<int64_t> captions;
  for (int64_t i = 0; i <= B; ++i) { offsets.push_back(int32_t(i * words)); }
  for (int64_t i = 0; i < B; ++i) { captions.push_back(i); }
  input.text_offsets = from_values<int32_t>({B + 1}, offsets);
  Tensor caption_ids = from_values<int64_t>({B}, captions);

  double accuracy = 0;
  for (uint32_t step = 0; step < 60; ++step) {
    RandomScope scope({.seed = 1, .step = step});
    model.parameters().zero_gradients();
    ImageTextOutput out = model.forward(input, {.training = true});
    ContrastiveResult result = contrastive_loss(out.image, out.text, model.log_temperature(), caption_ids);
    backward(add(result.loss, out.aux));
    optimizer.step({.learning_rate = 1e-3, .gradient_scale = 1});
    accuracy = (result.accuracy_i2t() + result.accuracy_t2i()) / 2;
    if (step % 20 == 0 || step == 59) { std::printf("step %u  loss %.3f  right %.0f %%\n", step, result.loss.item(), 100 * accuracy); }
  }
  return accuracy == 1 ? 0 : 1;
}
