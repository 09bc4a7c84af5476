// Our own models as the vision tower of a language model: the hidden states that they compute themselves, gradients, and files.
#include "pumice/models/run_tower.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "../message_of.h"
#include "../models/toy_model.h"
#include "../temporary.h"
#include "largest_difference.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/vision.h"
#include "pumice/models/hf/write.h"
#include "pumice/ops/norm/layer_norm.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/weight_writer.h"
#include "pumice/train/checkpoint.h"
#include "pumice/train/answerer.h"
#include "pumice/train/language_model.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::relative_difference;
using testing::toy_config;
using testing::toy_input;

ImageTextConfig toy_run(Architecture architecture, Pooling pooling = Pooling::mean) {
  ImageTextConfig c = toy_config();
  c.architecture = architecture;
  c.image_pooling = pooling;
  if (architecture == Architecture::classifier) { c.classnames = {"cat", "dog"}; }
  c.router.eval.factor = 0;
  return c;
}

// What picture_tensor() gives of pixels that fit already.
Tensor normalised(const Tensor& u8, const PixelScale& scale) {
  const int64_t B = u8.dim(0), S = u8.dim(1);
  Tensor out = empty({B, 3, S, S});
  const uint8_t* from = u8.data<uint8_t>();
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t i = 0; i < S * S; ++i) {
      for (int c = 0; c < 3; ++c) {
        out.data<float>()[(b * 3 + c) * S * S + i] = (float(from[(b * S * S + i) * 3 + c]) / 255.0f - scale.mean[c]) / scale.std[c];
      }
    }
  }
  return out;
}

struct Tower {
  ParameterStore store{9};
  std::unique_ptr<ImageTower> tower;
  explicit Tower(const ImageTextModel& model) {
    tower = make_image_tower(Scope(store), vision_config_of(model.config()));
    store.pack();
    for (const auto& p : store.all()) { copy_into(p->change(), model.parameters().find(p->name())->master()); }
  }
};

class RunTowers : public ::testing::TestWithParam<std::pair<Architecture, Pooling>> {};

// The pooled picture of the model, from the tower's hidden states: its last norm, then the mean or the class token. A model that ends a layer earlier
// has the same weights, for they depend on seed and name.
TEST_P(RunTowers, HiddenStatesAreTheModels) {
  const auto [architecture, pooling] = GetParam();
  const ImageTextConfig whole = toy_run(architecture, pooling);
  ImageTextConfig shorter = whole;
  shorter.depth = 2;
  shorter.moe_layers = {1};
  NoGrad no_grad;
  const auto model = make_model(whole, 4);
  const Tower tower(*model);
  ImageTextInput input = toy_input(3);
  input.tokens = input.text_offsets = Tensor();
  const Tensor pixels = normalised(input.pixels, whole.pixels);
  const auto pooled = [&](int64_t after) {
    const Tensor x = (*tower.tower)(pixels, DType::f32, after);
    const int64_t T = x.dim(1), C = x.dim(2);
    const std::string norm = architecture == Architecture::limoe ? "norm" : "image.norm";
    const auto weight = [&](const std::string& name) { return model->parameters().find(norm + name)->value(); };
    const std::vector<float> y = layer_norm(x, weight(".weight"), weight(".bias"), 1e-6).to_vector<float>();
    std::vector<float> out(size_t(3 * C));
    const int64_t of = pooling == Pooling::token ? 1 : T;
    for (int64_t b = 0; b < 3; ++b) {
      for (int64_t t = 0; t < of; ++t) {
        for (int64_t c = 0; c < C; ++c) { out[size_t(b * C + c)] += y[size_t((b * T + t) * C + c)] / float(of); }
      }
    }
    return from_values<float>({3, C}, out);
  };
  EXPECT_LT(relative_difference(pooled(-1), model->forward(input, {}).features), 1e-5);
  EXPECT_LT(relative_difference(pooled(-2), make_model(shorter, 4)->forward(input, {}).features), 1e-5);
  EXPECT_GT(relative_difference(pooled(-2), pooled(-1)), 1e-2) << "the last layer does nothing: nothing is tested";
  EXPECT_EQ(tower.tower->config().tokens(), pooling == Pooling::token ? 5 : 4);
}

INSTANTIATE_TEST_SUITE_P(All, RunTowers,
                         ::testing::Values(std::pair{Architecture::limoe, Pooling::mean}, std::pair{Architecture::limoe, Pooling::token},
                                           std::pair{Architecture::two_tower, Pooling::mean}, std::pair{Architecture::classifier, Pooling::token}));

// With the run's capacity, tokens would push out each other, and those of other pictures.
TEST(RunTower, NothingIsDropped) {
  ImageTextConfig c = toy_run(Architecture::limoe);
  c.router.eval.factor = 0.25;
  NoGrad no_grad;
  const auto model = make_model(c, 4);
  const Tower tower(*model);
  ImageTextInput input = toy_input(4);
  const Tensor pixels = normalised(input.pixels, c.pixels), all = (*tower.tower)(pixels, DType::f32);
  EXPECT_LT(relative_difference((*tower.tower)(pixels.slice(0, 2, 3), DType::f32), all.slice(0, 2, 3)), 1e-6);
  const auto roomy = make_model(toy_run(Architecture::limoe), 4);  // the same weights
  EXPECT_EQ((*Tower(*roomy).tower)(pixels, DType::f32).to_vector<float>(), all.to_vector<float>());
  int64_t dropped = 0;
  for (const LayerReport& l : model->forward(input, {}).layers) { dropped += l.stats.all().choices - l.stats.all().kept; }
  EXPECT_GT(dropped, 0) << "the run drops nothing either: nothing is tested";
}

constexpr const char* kText =
    R"("model_type": "llava_qwen2", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
       "num_key_value_heads": 2, "max_position_embeddings": 128, "mm_projector_type": "mlp2x_gelu", "mm_vision_tower": ")";

std::string config_with(const std::string& tower) { return "{" + std::string(kText) + tower + "\"}"; }

// Text, a picture, text; the last two words count.
LlavaInput toy_question(const Tensor& pixels) {
  const auto ids = [](const std::vector<int32_t>& v) { return from_values<int32_t>({int64_t(v.size())}, v); };
  return {.ids = ids({1, kImageId, 7, 5, 9}), .sequences = ids({0, 5}), .labels = ids({-100, -100, -100, 5, 9}), .pixels = pixels};
}

TEST(RunTower, GradientsReachItUnlessItIsFrozen) {
  const ImageTextConfig run = toy_run(Architecture::limoe);
  const LlavaConfig config = llava_config_from_hf(config_with("run"), "config.json", vision_config_of(run));
  const Tensor pixels = normalised(toy_input(1).pixels, run.pixels);
  for (const bool frozen : {false, true}) {
    Llava model(config, 3);
    for (const auto& p : model.parameters().all()) {
      if (frozen && p->name().rfind("vision.", 0) == 0) { p->freeze(); }
    }
    const Llava::Spliced spliced = model.splice(toy_question(pixels), DType::f32);
    backward(model.decoder().loss(model.decoder().forward(spliced.input, {.training = true}).hidden, spliced.labels, spliced.input.sequences));
    int64_t reached = 0;
    for (const auto& p : model.parameters().all()) {
      const bool behind = p->name().rfind("vision.blocks.2.", 0) == 0 || p->name().rfind("vision.norm.", 0) == 0;  // of the layer that is not read
      const bool tower = p->name().rfind("vision.", 0) == 0;
      EXPECT_EQ(p->leaf().reached, !tower || !(behind || frozen)) << p->name();
      if (!tower || !p->leaf().reached || p->name().find("qkv.bias") != std::string::npos) { continue; }
      double scale = 0;
      testing::largest_difference(p->leaf().grad, p->leaf().grad, scale);
      EXPECT_GT(scale, 0) << p->name();
      ++reached;
    }
    EXPECT_EQ(reached > 20, !frozen);
  }
}

// A run that was saved, a language model around it, and every way in which that may name its tower.
class RunTowerFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = make_model(toy_run(Architecture::limoe), 4);
    tokenizer_.save(d_.path());
    std::filesystem::create_directories(d_ / "run/checkpoints");
    save_model(d_ / "run/checkpoints/step-000002", *model_, tokenizer_, {.options = "{}"});
    write_file_atomic(d_ / "run/config.json", R"({"architecture": "limoe", "train-data": "of the whole training"})");
    config_ = llava_config_from_hf(config_with("run"), "config.json", vision_config_of(model_->config()));
    llava_ = std::make_unique<Llava>(config_, 3);
    for (const auto& p : llava_->parameters().all()) {
      if (p->name().rfind("vision.", 0) == 0) { copy_into(p->change(), model_->parameters().find(p->name().substr(7))->master()); }
    }
  }
  // A directory of the model, with the tower's weights in it or without.
  void write(const std::string& directory, const std::string& named, bool with_tower) const {
    std::filesystem::create_directories(directory);
    NamedTensors tensors;
    for (auto& t : hf_tensors(llava_->parameters(), [&](const std::string& name) { return hf_llava_tensors(config_, name); }, DType::f32)) {
      if (with_tower || t.first.rfind("model.vision_tower.", 0) != 0) { tensors.push_back(t); }
    }
    write_weights(directory, tensors);
    write_file_atomic(directory + "/config.json", config_with(named));
    tokenizer_.save(directory);
  }
  void expect_features(const Llava& got) const {
    NoGrad no_grad;
    const Tensor pixels = normalised(toy_input(2).pixels, model_->config().pixels);
    EXPECT_EQ(got.image_features(pixels, DType::f32).to_vector<float>(), llava_->image_features(pixels, DType::f32).to_vector<float>());
  }

  testing::Temporary d_;
  Tokenizer tokenizer_ = Tokenizer::train({"a red cat on a mat", "a blue dog"}, {.vocab_size = 270});
  std::unique_ptr<ImageTextModel> model_;
  LlavaConfig config_;
  std::unique_ptr<Llava> llava_;
};

TEST_F(RunTowerFiles, OpenedByRunByCheckpointAndFromInside) {
  write(d_ / "by-run", d_ / "run", false);
  expect_features(open_llava(d_ / "by-run"));
  write(d_ / "by-flag", "nowhere", false);
  expect_features(open_llava(d_ / "by-flag", d_ / "run/checkpoints/step-000002"));
  write(d_ / "inside", "tower", false);
  std::filesystem::copy(d_ / "run/checkpoints/step-000002", d_ / "inside/tower");
  expect_features(open_llava(d_ / "inside"));
  write(d_ / "whole", "tower", true);  // its own weights; only what the tower is stands beside them
  std::filesystem::create_directories(d_ / "whole/tower");
  std::filesystem::copy(d_ / "run/checkpoints/step-000002/config.json", d_ / "whole/tower/config.json");
  expect_features(open_llava(d_ / "whole"));

  const OpenVisionTower alone = open_vision_tower(d_ / "run");
  EXPECT_EQ(alone.tower->config().family, "limoe");
}

TEST_F(RunTowerFiles, AnswersSeePicturesAsTheRunDoes) {
  write(d_ / "model", d_ / "run", false);
  const char* of_another_tower = R"({"size": 99, "image_mean": [0.1, 0.2, 0.3], "do_center_crop": false})";
  write_file_atomic(d_ / "model/preprocessor_config.json", of_another_tower);
  const LanguageModel model = LanguageModel::open(d_ / "model", {.dtype = DType::f32});
  EXPECT_EQ(model.pictures.size, 16);
  EXPECT_EQ(model.pictures.fit, PictureInput::Fit::crop);
  EXPECT_EQ(model.pictures.mean[2], 0.5f);
  const ImageTextInput input = toy_input(1);
  const Image image{16, 16, input.pixels.to_vector<uint8_t>()};
  EXPECT_EQ(picture_tensor(image, model.pictures).to_vector<float>(), normalised(input.pixels, model_->config().pixels).to_vector<float>());
  Answerer answerer(model);
  EXPECT_EQ(answerer.ask("what is this", {image}, {.temperature = 0, .max_new_tokens = 3}, [](const std::string&) { return true; }).stopped, false);
}

TEST_F(RunTowerFiles, WhatDoesNotFitIsNamed) {
  write(d_ / "model", d_ / "nothing", false);
  std::filesystem::create_directories(d_ / "nothing");
  EXPECT_EQ(message_of<IoError>([&] { open_llava(d_ / "model"); }),
            (d_ / "nothing") + " is no vision tower: it holds neither a config.json nor a checkpoint of a run");
  write_file_atomic(d_ / "nothing/config.json", R"({"architecture": "vit_base_patch16"})");
  EXPECT_NE(message_of<FormatError>([&] { open_llava(d_ / "model"); }).find("architecture"), std::string::npos);
  write_file_atomic(d_ / "nothing/config.json", R"({"model_type": "qwen2"})");
  EXPECT_EQ(message_of<FormatError>([&] { open_llava(d_ / "model"); }),
            (d_ / "nothing/config.json") + ": \"model_type\": \"qwen2\" is no vision tower that is known, which are clip_vision_model and "
            "siglip_vision_model, and runs of limoe, two-tower and classifier");
}

}  // namespace
}  // namespace pumice
