// Models that see, made of parts: every layout with every kind of tower, opened and asked, and what does not fit together.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <gtest/gtest.h>

#include "pumice/models/hf/assemble.h"
#include "seeing_models.h"

namespace pumice {
namespace {

using testing::holds;
using testing::Outcome;
using testing::run;

class Assembled : public testing::SeeingModels {};

TEST_F(Assembled, LayoutsAnswerAlike) {
  for (const char* tower : {"clip-vision", "clip", "siglip-vision"}) {
    std::vector<std::string> answers;
    for (const char* layout : {"llava", "hf", "moe_llava"}) {
      const std::string out = std::string(tower) + "-" + layout;
      const Outcome o = assemble(fixture(tower), out, std::string("--seed 5 --layout ") + layout);
      ASSERT_EQ(o.code, 0) << o.text;
      EXPECT_TRUE(holds(o, "1.60k of them new in the projector; 16 tokens per picture")) << o.text;  // 16 x 32 + 32 + 32 x 32 + 32
      answers.push_back(answer(out));
    }
    EXPECT_EQ(answers[0], answers[1]) << tower;
    EXPECT_EQ(answers[0], answers[2]) << tower;
  }
  ASSERT_EQ(assemble(fixture("clip-vision"), "other", "--seed 6").code, 0);
  EXPECT_NE(answer("other"), answer("clip-vision-llava")) << "another projector answers alike: nothing is tested";
}

TEST_F(Assembled, TheDecoderIsWhatItWas) {
  ASSERT_EQ(assemble(fixture("clip-vision"), "sees").code, 0);
  const std::string ask = "generate --raw --max-new-tokens 12 -p 'a red' --model ";
  EXPECT_EQ(run(ask + (d_ / "sees")).text, run(ask + (d_ / "words")).text);
  const Outcome info = run("model info " + (d_ / "sees"));
  EXPECT_TRUE(info.code == 0 && holds(info, "in the layout of LLaVA") && holds(info, "every tensor that config.json asks for is there")) << info.text;
}

TEST_F(Assembled, OfARunOfOurOwn) {
  ASSERT_EQ(assemble(d_ / "run", "sees", "--projector mlp3x_gelu").code, 0);
  answer("sees");
  const Outcome info = run("model info " + (d_ / "sees"));
  EXPECT_TRUE(info.code == 0 && holds(info, "tower       limoe: ") && holds(info, "no token is dropped") && holds(info, "projector   3 layers") &&
              holds(info, "tower     412k (411712) total, 213k (213184) active per token"))
      << info.text;
  ASSERT_EQ(assemble(d_ / "run", "moe", "--layout moe_llava --projector linear").code, 0);
  const Outcome sparse = run("model convert " + (d_ / "moe") + " --out " + (d_ / "sparse"));
  ASSERT_EQ(sparse.code, 0) << sparse.text;
  EXPECT_EQ(answer("sparse"), answer("moe"));
}

// What is read is never written over, and of a model that is replaced nothing is left.
TEST_F(Assembled, AModelIsReplacedAsAWhole) {
  ASSERT_EQ(assemble(fixture("clip-vision"), "sees").code, 0);
  const std::string tower = d_ / "sees/vision_tower";
  ASSERT_TRUE(std::filesystem::exists(tower + "/config.json"));
  const std::string weights = read_file(tower + "/model.safetensors");
  const Outcome inside = assemble(tower, "sees", "--overwrite");
  EXPECT_TRUE(inside.code == 2 && holds(inside, "vision_tower, which is read, lies in --out")) << inside.text;
  EXPECT_EQ(read_file(tower + "/model.safetensors"), weights);
  write_file_atomic(d_ / "sees/notes.txt", "mine");
  ASSERT_EQ(run("model export " + (d_ / "words") + " --overwrite --out " + (d_ / "sees")).code, 0);
  EXPECT_FALSE(std::filesystem::exists(tower + "/model.safetensors"));
  EXPECT_EQ(read_file(d_ / "sees/notes.txt"), "mine");
}

// A model that cannot be made leaves the one that it was to replace as it was, and no part of itself.
TEST_F(Assembled, WhatFailsLeavesWhatWasThere) {
  ASSERT_EQ(assemble(fixture("clip-vision"), "sees").code, 0);
  const std::string config = read_file(d_ / "sees/config.json"), weights = read_file(d_ / "sees/model.safetensors");
  // the tower is not with the files that are read back
  std::filesystem::create_directory(d_ / "apart");
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.json"}) { std::filesystem::copy(d_ / ("sees/" + std::string(file)), d_ / "apart"); }
  const Outcome failed = run("model convert " + (d_ / "apart") + " --overwrite --out " + (d_ / "sees"));
  EXPECT_EQ(failed.code, 1) << failed.text;
  EXPECT_EQ(read_file(d_ / "sees/config.json"), config);
  EXPECT_EQ(read_file(d_ / "sees/model.safetensors"), weights);
  for (const auto& entry : std::filesystem::directory_iterator(d_ / "sees")) { EXPECT_FALSE(entry.path().filename().string().starts_with(".partial")); }
  EXPECT_EQ(run("model convert " + (d_ / "apart") + " --out " + (d_ / "fresh")).code, 1);
  EXPECT_FALSE(std::filesystem::exists(d_ / "fresh"));
}

// Parts lie in their files until they are written.
TEST_F(Assembled, NothingIsCopied) {
  const LlavaFiles made = assemble_llava(d_ / "words", fixture("clip-vision"), {});
  for (const auto& [name, tensor] : made.tensors) {
    EXPECT_EQ(tensor.dtype(), name.find("mm_projector") == std::string::npos ? DType::bf16 : DType::f32) << name;
  }
  EXPECT_EQ(made.tower.size(), 55u);
}

TEST_F(Assembled, WhatDoesNotFitTogetherIsNamed) {
  const auto expect = [](const Outcome& o, int code, const char* says) { EXPECT_TRUE(o.code == code && holds(o, says)) << o.text; };
  expect(assemble(d_ / "words", "x"), 1, "words/config.json: \"model_type\": \"qwen2\" is no vision tower that is known");
  expect(assemble(d_ / "nowhere", "x"), 1, "nowhere does not exist");
  expect(assemble(fixture("clip-vision"), "x", "--layout gguf"), 2, "--layout must be");
  expect(assemble(fixture("clip-vision"), "x", "--projector resampler"), 2,
         "the projector must be linear or mlpNx_gelu, such as mlp2x_gelu, got 'resampler'");
  expect(assemble(fixture("clip-vision"), "x", "--projector linear --layout hf"), 2, "Transformers' LLaVA has the projector mlp2x_gelu, not linear");
  expect(assemble(d_ / "run", "x", "--layout hf"), 2, "Transformers' layout cannot describe a tower of our own (limoe)");
  expect(assemble(fixture("clip-vision"), "words/x"), 2, "--out must not be the model's own directory");
  expect(assemble(fixture("clip-vision"), "x", "--vision-layer 9"), 2, "[assemble] the tower has layers 0 to 3 or -4 to -1, got 9");
  expect(run("model assemble --image-tower a --out b"), 2, "--decoder DIR and --image-tower DIR are required");
  EXPECT_FALSE(std::filesystem::exists(d_ / "x"));

  ASSERT_EQ(assemble(fixture("clip-vision"), "sees").code, 0);
  expect(run("model assemble --decoder " + (d_ / "sees") + " --image-tower " + fixture("clip-vision") + " --out " + (d_ / "x")), 2, "sees already");
  ASSERT_EQ(run("model convert " + (d_ / "words") + " --out " + (d_ / "sparse")).code, 0);
  expect(run("model assemble --decoder " + (d_ / "sparse") + " --image-tower " + fixture("clip-vision") + " --out " + (d_ / "x")), 2,
         "the decoder has experts, which the layout moe_llava alone can describe");
  const std::string moe_llava = "model assemble --layout moe_llava --image-tower " + fixture("clip-vision") + " --decoder ";
  EXPECT_EQ(run(moe_llava + (d_ / "sparse") + " --out " + (d_ / "x")).code, 0);

  std::filesystem::create_directories(d_ / "phi");
  write_file_atomic(d_ / "phi/config.json", R"({"model_type": "phi", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48,
                                               "num_hidden_layers": 1, "num_attention_heads": 4})");
  ASSERT_EQ(run("model init --model-config " + (d_ / "phi") + " --tokenizer " + (d_ / "tokenizer") + " --overwrite --out " + (d_ / "phi")).code, 0);
  expect(run("model assemble --layout hf --decoder " + (d_ / "phi") + " --image-tower " + fixture("clip-vision") + " --out " + (d_ / "y")), 2,
         "Transformers' LLaVA has a head without the bias that this decoder's has (phi)");
  EXPECT_EQ(run(moe_llava + (d_ / "phi") + " --out " + (d_ / "z")).code, 0);
}

// Transformers' layout needs an id for a picture: where the tokenizer has all rows, there are more, as in llava-1.5-7b-hf (32000 became 32064).
TEST_F(Assembled, AFullVocabularyGrows) {
  std::string full = testing::kDecoderConfig;
  const int64_t words = Tokenizer::load(d_ / "tokenizer").vocab_size(), rows = (words / 64 + 1) * 64;
  write_file_atomic(d_ / "full.json", full.replace(full.find("300"), 3, std::to_string(words)));
  const std::string made = "model init --model-config " + (d_ / "full.json") + " --tokenizer " + (d_ / "tokenizer") + " --out " + (d_ / "full");
  ASSERT_EQ(run(made).code, 0);
  const LlavaFiles sees = assemble_llava(d_ / "full", fixture("clip-vision"), {.layout = "hf", .image_token = int32_t(words)});
  const auto tensor = [&](const std::string& name) {
    return std::find_if(sees.tensors.begin(), sees.tensors.end(), [&](const auto& t) { return t.first == name; })->second;
  };
  for (const char* name : {"language_model.model.embed_tokens.weight", "language_model.lm_head.weight"}) {
    const Tensor t = tensor(name);
    ASSERT_EQ(t.shape(), (Shape{rows, 32}));
    const std::vector<float> v = to_dtype(t, DType::f32).to_vector<float>();
    double mean = 0;
    for (int64_t i = 0; i < words; ++i) { mean += double(v[size_t(i * 32 + 5)]) / double(words); }
    EXPECT_NEAR(v[size_t(words * 32 + 5)], mean, std::abs(mean) / 256) << name;  // rounded to bf16
    EXPECT_EQ(v[size_t((rows - 1) * 32 + 5)], v[size_t(words * 32 + 5)]);
  }
  const std::string parts = "model assemble --decoder " + (d_ / "full") + " --image-tower " + fixture("clip-vision");
  ASSERT_EQ(run(parts + " --layout hf --out " + (d_ / "hf")).code, 0);
  ASSERT_EQ(run(parts + " --out " + (d_ / "llava")).code, 0);
  EXPECT_EQ(answer("hf"), answer("llava"));
}

}  // namespace
}  // namespace pumice
