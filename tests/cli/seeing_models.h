// Parts of models that see, for tests of what makes them whole and of what writes them anew.
#pragma once
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../temporary.h"
#include "pumice/data/image.h"
#include "pumice/models/limoe.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/weight_files.h"
#include "pumice/tensor/weight_writer.h"
#include "pumice/train/checkpoint.h"
#include "run_program.h"

namespace pumice::testing {

inline constexpr const char* kDecoderConfig =
    R"({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "torch_dtype": "bfloat16"})";

class SeeingModels : public ::testing::Test {
 protected:
  // A decoder at d_ / "words", a run of ours at d_ / "run", a picture.
  void SetUp() override {
    const Tokenizer tokenizer = Tokenizer::train({"a red cat on a mat", "a blue dog", "what is this", "where is the cat"}, {.vocab_size = 280});
    tokenizer.save(d_ / "tokenizer");
    write_file_atomic(d_ / "qwen2.json", kDecoderConfig);
    ASSERT_EQ(run("model init --model-config " + (d_ / "qwen2.json") + " --tokenizer " + (d_ / "tokenizer") + " --out " + (d_ / "words")).code, 0);
    ImageTextConfig c = limoe_preset("micro");
    c.image_size = 16;
    c.vocabulary = 300;
    c.moe_layers = {1, 3};
    c.router.experts = 4;
    save_model(d_ / "run", *make_model(c, 1), tokenizer, {.options = "{}"});
    std::vector<uint8_t> rgb;
    for (int i = 0; i < 9 * 14 * 3; ++i) { rgb.push_back(uint8_t(i * 37)); }
    write_file_atomic(d_ / "picture.png", encode_png({9, 14, rgb}));
  }
  Outcome assemble(const std::string& tower, const std::string& out, const std::string& more = "") const {
    return run("model assemble --decoder " + (d_ / "words") + " --image-tower " + tower + " --out " + (d_ / out) + " " + more);
  }
  // What a drawn projector says of a picture is too faint to change an answer: it is made loud.
  void sharpen(const std::string& model) const {
    const WeightFiles files = WeightFiles::open(d_ / model);
    std::vector<std::pair<std::string, Tensor>> all;
    for (const std::string& name : files.names()) {
      Tensor value = files.load(name);
      if (name.find("projector") != std::string::npos) {
        std::vector<float> loud = to_dtype(value, DType::f32).to_vector<float>();
        for (float& x : loud) { x *= 400; }
        value = from_values<float>(value.shape(), loud);
      }
      all.emplace_back(name, value);
    }
    write_weights(d_ / model, all);
  }
  std::string answer(const std::string& model) const {
    const Outcome o = run("generate --precision f32 --max-new-tokens 8 --image-fit pad -p 'what is this' --conv-mode phi --image " +
                          (d_ / "picture.png") + " --model " + (d_ / model));
    EXPECT_EQ(o.code, 0) << o.text;
    return o.text;
  }
  static std::string fixture(const char* name) { return std::string(PUMICE_FIXTURES "/models/fixtures/") + name; }

  Temporary d_;
};

}  // namespace pumice::testing
