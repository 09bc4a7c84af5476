#include "pumice/models/limoe.h"

#include <cmath>

#include <gtest/gtest.h>

#include "pumice/autograd/gradcheck.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/models/limoe.h"
#include "pumice/ops/loss/contrastive.h"
#include "pumice/ops/loss/cross_entropy.h"
#include "pumice/ops/loss/sigmoid_cross_entropy.h"
#include "pumice/ops/reduce/reduce.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/rng.h"
#include "toy_model.h"

namespace pumice {
namespace {

using testing::toy_config;
using testing::toy_input;

struct Variant {
  const char* name;
  void (*change)(ImageTextConfig&);
};
const Variant kVariants[] = {
    {"limoe", [](ImageTextConfig&) {}},
    {"limoe_map_sincos_sigmoid", [](ImageTextConfig& c) {
       c.image_pooling = c.text_pooling = Pooling::map;
       c.positions = Positions::sincos;
       c.loss = Loss::sigmoid;
       c.initial_bias = -1;
     }},
    {"limoe_token", [](ImageTextConfig& c) { c.image_pooling = c.text_pooling = Pooling::token; }},
    {"two_tower_clip", [](ImageTextConfig& c) {
       c = as_architecture(c, Architecture::two_tower);
       c.image_pooling = c.text_pooling = Pooling::token;
       c.causal_text = true;
       c.text_width = 8;
       c.text_depth = 2;
       c.text_hidden = 12;
     }},
    {"two_tower_sparse", [](ImageTextConfig& c) {
       c.architecture = Architecture::two_tower;
       c.text_moe_layers = {0};
       c.router.experts_per_token = 2;
       c.image_pooling = Pooling::map;
     }},
    {"classifier", [](ImageTextConfig& c) {
       c.architecture = Architecture::classifier;
       c.classnames = {"cat", "dog, small", "emu"};
     }},
    {"classifier_sigmoid_dense", [](ImageTextConfig& c) {
       c.architecture = Architecture::classifier;
       c.classnames = {"cat", "dog", "emu"};
       c.moe_layers = {};
       c.loss = Loss::sigmoid;
       c.image_pooling = Pooling::token;
     }},
};

class ImageTextModels : public ::testing::TestWithParam<Variant> {
 protected:
  ImageTextConfig config() const {
    ImageTextConfig c = toy_config();
    GetParam().change(c);
    return c;
  }
};
INSTANTIATE_TEST_SUITE_P(Variants, ImageTextModels, ::testing::ValuesIn(kVariants), [](const auto& info) { return std::string(info.param.name); });

Tensor loss_of(const ImageTextModel& model, const ImageTextInput& in, const ImageTextRun& run) {
  ImageTextOutput out = model.forward(in, run);
  const bool sigmoid = model.config().loss == Loss::sigmoid;
  Tensor loss;
  if (out.logits.defined()) {
    Tensor labels = from_values<int32_t>({4}, std::vector<int32_t>{0, 2, 1, 2});
    loss = sigmoid ? sigmoid_cross_entropy(out.logits, labels) : cross_entropy(out.logits, labels);
  } else {
    Tensor ids = from_values<int64_t>({4}, std::vector<int64_t>{1, 2, 1, 3});
    loss = (sigmoid ? sigmoid_contrastive_loss(out.image, out.text, model.log_temperature(), model.logit_bias(), ids)
                    : contrastive_loss(out.image, out.text, model.log_temperature(), ids)).loss;
  }
  return out.aux.defined() ? add(loss, out.aux) : loss;
}

TEST_P(ImageTextModels, CountsOfParametersAgree) {
  EXPECT_EQ(make_model(config(), 1)->parameters().size(), cost_of(config()).parameters);
}

TEST_P(ImageTextModels, ConfigurationsSurviveJson) {
  const std::string json = to_json(config());
  EXPECT_EQ(to_json(image_text_config_from_json(json, "test")), json);
}

// Without capacity limits nothing couples examples: a picture has the same embedding alone, in a batch and without captions.
TEST_P(ImageTextModels, AnExampleDoesNotDependOnItsNeighboursWhenNothingIsDropped) {
  ImageTextConfig c = config();
  c.router.eval.factor = 0;
  auto model = make_model(c, 1);
  for (const auto& p : model->parameters().all()) {  // zero heads would make this trivial
    if (p->name() == "classes.weight") { copy_into(p->change(), random_uniform_tensor(p->shape(), -1, 1, {.seed = 2})); }
  }
  ImageTextInput all = toy_input(5), images, text;
  images.pixels = all.pixels.slice(0, 3, 5);
  ImageTextOutput together = model->forward(all, {}), alone = model->forward(images, {});
  auto rows = [](const Tensor& t, int64_t begin, int64_t end) { return t.slice(0, begin, end).to_vector<double>(); };
  const Tensor& a = together.logits.defined() ? together.logits : together.image;
  const Tensor& b = together.logits.defined() ? alone.logits : alone.image;
  std::vector<double> x = rows(a, 3, 5), y = b.to_vector<double>();
  for (size_t i = 0; i < y.size(); ++i) { EXPECT_NEAR(x[i], y[i], 1e-5); }
  if (!together.text.defined()) { return; }
  text.tokens = all.tokens;
  text.text_offsets = all.text_offsets;
  x = together.text.to_vector<double>();
  y = model->forward(text, {}).text.to_vector<double>();
  for (size_t i = 0; i < y.size(); ++i) { EXPECT_NEAR(x[i], y[i], 1e-5); }
}

// Padding is of no caption: losses, and every gradient, are those of the same batch without it. Noise and dropout too: it stands behind everything else.
TEST_P(ImageTextModels, PaddingChangesNothing) {
  ImageTextConfig c = config();
  if (c.architecture == Architecture::classifier) { GTEST_SKIP() << "reads no captions"; }
  c.dropout = 0.1;
  c.aux.losses = {AuxLoss::importance, AuxLoss::load, AuxLoss::z, AuxLoss::balance, AuxLoss::local_image, AuxLoss::local_text, AuxLoss::global_image,
                  AuxLoss::global_text};
  for (const LossScope scope : {LossScope::group, LossScope::global}) {
    c.aux.scope = scope;
    auto model = make_model(c, 1, DType::f64);
    for (const auto& p : model->parameters().all()) {
      if (p->name() == "logit_bias") { copy_into(p->change(), full({}, -1, DType::f64)); }
    }
    const RandomScope random({.seed = 5, .step = 2});
    double loss[2];
    std::vector<double> gradients[2];
    std::vector<LayerReport> layers[2];
    for (int64_t padding : {0, 7}) {
      ImageTextInput in = toy_input(4);
      std::vector<int32_t> tokens = in.tokens.to_vector<int32_t>();
      tokens.resize(tokens.size() + size_t(padding), 3);
      in.tokens = from_values<int32_t>({int64_t(tokens.size())}, tokens);
      in.padding = padding;
      model->parameters().zero_gradients();
      const ImageTextRun run{.dtype = DType::f64, .training = true, .reports = true};
      layers[padding > 0] = model->forward(in, run).layers;
      Tensor l = loss_of(*model, in, run);
      loss[padding > 0] = l.item();
      backward(l);
      gradients[padding > 0] = model->parameters().gradients().to_vector<double>();
    }
    EXPECT_NEAR(loss[1], loss[0], 1e-12);
    for (size_t i = 0; i < gradients[0].size(); ++i) { ASSERT_NEAR(gradients[1][i], gradients[0][i], 1e-12) << i; }
    for (size_t i = 0; i < layers[0].size(); ++i) {
      EXPECT_EQ(layers[1][i].stats.all().tokens, layers[0][i].stats.all().tokens);
      EXPECT_EQ(layers[1][i].stats.all().kept, layers[0][i].stats.all().kept);
    }
  }
}

// The whole model in f64 against central differences, for a sample of elements of every parameter.
TEST_P(ImageTextModels, GradientsOfEveryParameter) {
  ImageTextConfig c = config();
  c.router.train.factor = 0;     // dropping is a step function
  c.router.noise_std = 0;
  auto model = make_model(c, 1, DType::f64);
  const ImageTextInput in = toy_input(4);
  const ImageTextRun run{.dtype = DType::f64, .training = true};
  model->parameters().zero_gradients();
  backward(loss_of(*model, in, run));
  EXPECT_TRUE(model->parameters().unreached().empty());
  NoGrad no_grad;
  for (const auto& p : model->parameters().all()) {
    double* x = p->change().data<double>();
    const double* g = p->leaf().grad.data<double>();
    for (int64_t i = 0; i < p->size(); i += std::max<int64_t>(1, p->size() / 3)) {
      double keep = x[i], h = 1e-5;
      x[i] = keep + h;
      double up = loss_of(*model, in, run).item();
      x[i] = keep - h;
      double down = loss_of(*model, in, run).item();
      x[i] = keep;
      EXPECT_NEAR(g[i], (up - down) / (2 * h), 1e-6) << p->name() << " element " << i;
    }
  }
}

TEST(ImageTextModel, CausalTextDoesNotSeeWhatFollows) {
  ImageTextConfig c = as_architecture(toy_config(), Architecture::two_tower);
  c.causal_text = true;
  c.text_pooling = Pooling::mean;
  ImageTextInput in;
  in.text_offsets = from_values<int32_t>({2}, std::vector<int32_t>{0, 4});
  auto first_token = [&](bool causal, int32_t last) {
    c.causal_text = causal;
    ParameterStore store(1);
    Encoder encoder(Scope(store), c, c.text_tower());
    TextStem stem(Scope(store) / "text", c, c.width);
    store.pack();
    in.tokens = from_values<int32_t>({4}, std::vector<int32_t>{3, 4, 5, last});
    ImageTextOutput out;
    std::vector<Tensor> aux;
    Tensor x = encoder({stem(in.tokens, stem.places(in.text_offsets), DType::f32), in.text_offsets, {}}, {}, out, aux);
    return x.slice(0, 0, 3).to_vector<double>();
  };
  EXPECT_EQ(first_token(true, 6), first_token(true, 7));
  EXPECT_NE(first_token(false, 6), first_token(false, 7));
}

TEST(ImageTextModel, SincosPositionsOfBigVision) {
  std::vector<double> v = sincos_positions(3, 8).to_vector<double>();
  // row 5 is y = 1, x = 2; frequencies 1 and 1/10000
  const double want[] = {std::sin(2.0), std::sin(2e-4), std::cos(2.0), std::cos(2e-4), std::sin(1.0), std::sin(1e-4), std::cos(1.0), std::cos(1e-4)};
  for (int i = 0; i < 8; ++i) { EXPECT_NEAR(v[5 * 8 + i], want[i], 1e-6); }
}

TEST(Limoe, EmbeddingsAreUnitVectors) {
  Limoe model(toy_config(), 1);
  ImageTextOutput out = model.forward(toy_input(5), {});
  EXPECT_EQ(out.image.shape(), (Shape{5, 8}));
  EXPECT_EQ(out.text.shape(), (Shape{5, 8}));
  for (const Tensor& z : {out.image, out.text}) {
    std::vector<double> v = z.to_vector<double>();
    for (int i = 0; i < 5; ++i) {
      double norm = 0;
      for (int k = 0; k < 8; ++k) { norm += v[i * 8 + k] * v[i * 8 + k]; }
      EXPECT_NEAR(norm, 1, 1e-5);
    }
  }
  EXPECT_EQ(out.layers.size(), 2u);
  EXPECT_FALSE(out.aux.defined());
}

TEST(Limoe, RecomputationGivesTheSameBitsAndTakesLessMemory) {
  ImageTextConfig c = toy_config();
  c.dropout = 0.1;
  c.width = 64;
  c.hidden = 256;
  Limoe model(c, 1);
  ImageTextInput in = toy_input(32);
  Tensor ids = from_values<int64_t>({32}, [] { std::vector<int64_t> v(32); for (int i = 0; i < 32; ++i) { v[i] = i; } return v; }());
  std::vector<double> gradients[2];
  int64_t peak[2];
  for (int recompute : {0, 1}) {
    RandomScope scope({.seed = 5, .step = 2});
    model.parameters().zero_gradients();
    reset_peak_memory();
    int64_t before = memory_stats().in_use;
    ImageTextOutput out = model.forward(in, {.training = true, .recompute = recompute == 1});
    Tensor total = add(contrastive_loss(out.image, out.text, model.log_temperature(), ids).loss, out.aux);
    EXPECT_EQ(out.layers.size(), 2u);
    out = ImageTextOutput();
    backward(total);
    peak[recompute] = memory_stats().peak - before;
    gradients[recompute] = model.parameters().gradients().to_vector<double>();
  }
  EXPECT_EQ(gradients[0], gradients[1]);
  EXPECT_LT(peak[1], peak[0] * 2 / 3);
}

TEST(Limoe, Bf16FollowsF32) {
  Limoe model(toy_config(), 1);
  ImageTextInput in = toy_input(6);
  std::vector<double> a = model.forward(in, {}).image.to_vector<double>();
  std::vector<double> b = model.forward(in, {.dtype = DType::bf16}).image.to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) { EXPECT_NEAR(a[i], b[i], 0.05); }
}

TEST(Limoe, ErrorsNameTheShapes) {
  Limoe model(toy_config(), 1);
  ImageTextInput in = toy_input(4);
  in.pixels = zeros({4, 32, 32, 3}, DType::u8);
  try {
    model.forward(in, {});
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(), "[model] pixels must be (B, 16, 16, 3), got (4, 32, 32, 3)");
  }
}

}  // namespace
}  // namespace pumice
