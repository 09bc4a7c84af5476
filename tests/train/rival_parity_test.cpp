// Five training steps of two towers and of a classifier against PyTorch in f64 (tests/oracle/make_rival_fixtures.py): losses, the share
// of tokens that found a place, gradient norms, and every gradient of the first step and of the last, which the optimizer has led to.
#include <gtest/gtest.h>

#include "largest_difference.h"
#include "pumice/data/loader.h"
#include "pumice/models/image_text_model.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/train/image_text_trainer.h"

namespace pumice {
namespace {

using testing::largest_difference;

ImageTextConfig two_towers() {
  return {.architecture = Architecture::two_tower, .image_size = 16, .patch = 4, .text_length = 6, .vocabulary = 24, .depth = 2, .width = 16,
          .heads = 2, .hidden = 24, .embedding = 8, .text_depth = 1, .text_width = 12, .text_heads = 3, .text_hidden = 20};
}

// `tolerance` is relative to the largest value of each gradient.
void expect_gradients(const ImageTextModel& model, const SafetensorsFile& file, const std::string& prefix, double tolerance) {
  for (const auto& p : model.parameters().all()) {
    Tensor got = p->leaf().grad, want = file.load(prefix + p->name());
    double scale = 1e-3;
    const double worst = largest_difference(got, want, scale);
    EXPECT_LT(worst, tolerance * scale) << prefix << p->name();
  }
}

void expect_parity(const std::string& name, const ImageTextConfig& config) {
  SafetensorsFile file = SafetensorsFile::open(PUMICE_FIXTURES "/train/fixtures/" + name + ".safetensors");
  std::unique_ptr<ImageTextModel> model = make_model(config, 0);
  ParameterStore& parameters = model->parameters();
  for (const auto& p : parameters.all()) { copy_into(p->change(), file.load("start/" + p->name())); }
  AdamW optimizer(parameters, {.weight_decay = 0.1});
  Batch batch;
  batch.pixels = file.load("pixels");
  batch.tokens = file.load("tokens");
  batch.text_offsets = file.load("offsets");
  batch.caption_ids = file.load("caption_ids");
  batch.labels = file.load("labels");
  const std::vector<double> record = file.load("record").to_vector<double>();  // per step: loss, auxiliary loss, gradient norm, share kept
  const size_t steps = record.size() / 4;
  ASSERT_EQ(steps, 5u);
  for (size_t step = 0; step < steps; ++step) {
    SCOPED_TRACE(name + " step " + std::to_string(step));
    const double* want = &record[step * 4];
    parameters.zero_gradients();
    LossReport report = accumulate_gradients(*model, batch, 1, {.training = true});
    EXPECT_NEAR(report.task, want[0], 5e-5 * want[0]);
    EXPECT_NEAR(report.aux, want[1], 5e-5 * want[1]);
    const double norm = gradient_norm(parameters);
    EXPECT_NEAR(norm, want[2], 2e-4 * want[2]);
    if (config.moe_layers.empty()) { EXPECT_TRUE(report.layers.empty()); }
    else { EXPECT_NEAR(report.layers.at(0).stats.all().success_rate(), want[3], 1e-6); }
    if (step == 0) { expect_gradients(*model, file, "gradient0/", 2e-5); }
    if (step + 1 == steps) { expect_gradients(*model, file, "gradient4/", 2e-3); }
    optimizer.step({.learning_rate = 3e-3, .gradient_scale = std::min(1.0, 1.0 / norm)});
  }
}

TEST(RivalParity, ClipWithTwoTowers) {
  ImageTextConfig c = two_towers();
  c.image_pooling = c.text_pooling = Pooling::token;
  c.causal_text = true;
  expect_parity("clip", c);
}

TEST(RivalParity, SigLipWithAttentionPooling) {
  ImageTextConfig c = two_towers();
  c.image_pooling = c.text_pooling = Pooling::map;
  c.loss = Loss::sigmoid;
  expect_parity("siglip", c);
}

TEST(RivalParity, SparseClassifier) {
  ImageTextConfig c{.architecture = Architecture::classifier, .image_size = 16, .patch = 4, .depth = 2, .width = 16, .heads = 2, .hidden = 24,
                    .image_pooling = Pooling::token, .loss = Loss::sigmoid, .classnames = {"a", "b", "c", "d", "e"}, .moe_layers = {1},
                    .router = {.experts = 4, .experts_per_token = 2, .train = {.factor = 0.9, .multiple_of = 1}, .noise_std = 0},
                    .aux = {.losses = {AuxLoss::importance, AuxLoss::z}}, .group_examples = 4};
  expect_parity("vmoe", c);
}

}  // namespace
}  // namespace pumice
