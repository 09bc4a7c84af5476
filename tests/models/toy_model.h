// A model small enough to differentiate numerically, and input for it.
#pragma once
#include "pumice/models/image_text_model.h"
#include "pumice/tensor/rng.h"

namespace pumice::testing {

inline ImageTextConfig toy_config() {
  ImageTextConfig c;
  c.image_size = 16;
  c.patch = 8;
  c.text_length = 6;
  c.vocabulary = 32;
  c.depth = 3;
  c.width = 16;
  c.heads = 2;
  c.hidden = 24;
  c.embedding = 8;
  c.moe_layers = {1, 2};
  c.router.experts = 4;
  c.router.experts_per_token = 1;
  c.group_examples = 2;
  return c;
}

inline ImageTextInput toy_input(int64_t examples, uint64_t seed = 3) {
  ImageTextInput in;
  Tensor noise = random_uniform_tensor({examples, 16, 16, 3}, 0, 256, {.seed = seed});
  in.pixels = to_dtype(noise, DType::u8);
  std::vector<int32_t> tokens, offsets = {0};
  for (int64_t i = 0; i < examples; ++i) {
    for (int64_t k = 0; k < 2 + i % 4; ++k) { tokens.push_back(int32_t((7 * i + 3 * k + int64_t(seed)) % 32)); }
    offsets.push_back(int32_t(tokens.size()));
  }
  in.tokens = from_values<int32_t>({int64_t(tokens.size())}, tokens);
  in.text_offsets = from_values<int32_t>({examples + 1}, offsets);
  return in;
}

}  // namespace pumice::testing
