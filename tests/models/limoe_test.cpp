#include "pumice/models/limoe.h"

#include <gtest/gtest.h>

#include "pumice/autograd/gradcheck.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/loss/contrastive.h"
#include "pumice/ops/reduce/reduce.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

LimoeConfig toy() {
  LimoeConfig c;
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

LimoeInput toy_input(int64_t examples, uint64_t seed = 3) {
  LimoeInput in;
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

TEST(Limoe, EmbeddingsAreUnitVectors) {
  Limoe model(toy(), 1);
  LimoeOutput out = model.forward(toy_input(5), {});
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

// Without capacity limits nothing couples examples: a picture has the same embedding alone, in a batch and without captions.
TEST(Limoe, AnExampleDoesNotDependOnItsNeighboursWhenNothingIsDropped) {
  LimoeConfig c = toy();
  c.router.eval.factor = 0;
  Limoe model(c, 1);
  LimoeInput all = toy_input(5), images, text;
  images.pixels = all.pixels;
  text.tokens = all.tokens;
  text.text_offsets = all.text_offsets;
  LimoeOutput together = model.forward(all, {});
  std::vector<double> a = together.image.to_vector<double>(), b = model.forward(images, {}).image.to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) { EXPECT_NEAR(a[i], b[i], 1e-5); }
  a = together.text.to_vector<double>();
  b = model.forward(text, {}).text.to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) { EXPECT_NEAR(a[i], b[i], 1e-5); }
}

// The whole model in f64 against central differences, for a sample of elements of every parameter.
TEST(Limoe, GradientsOfEveryParameter) {
  LimoeConfig c = toy();
  c.router.train.factor = 0;     // dropping is a step function
  c.router.noise_std = 0;
  Limoe model(c, 1, DType::f64);
  LimoeInput in = toy_input(4);
  Tensor ids = from_values<int64_t>({4}, std::vector<int64_t>{1, 2, 1, 3});
  auto loss = [&] {
    LimoeOutput out = model.forward(in, {.dtype = DType::f64, .training = true});
    return add(contrastive_loss(out.image, out.text, model.log_temperature(), ids).loss, out.aux);
  };
  model.parameters().zero_gradients();
  backward(loss());
  EXPECT_TRUE(model.parameters().unreached().empty());
  NoGrad no_grad;
  for (const auto& p : model.parameters().all()) {
    double* x = p->change().data<double>();
    const double* g = p->leaf().grad.data<double>();
    for (int64_t i = 0; i < p->size(); i += std::max<int64_t>(1, p->size() / 3)) {
      double keep = x[i], h = 1e-5;
      x[i] = keep + h;
      double up = loss().item();
      x[i] = keep - h;
      double down = loss().item();
      x[i] = keep;
      EXPECT_NEAR(g[i], (up - down) / (2 * h), 1e-6) << p->name() << " element " << i;
    }
  }
}

TEST(Limoe, RecomputationGivesTheSameBitsAndTakesLessMemory) {
  LimoeConfig c = toy();
  c.dropout = 0.1;
  c.width = 64;
  c.hidden = 256;
  Limoe model(c, 1);
  LimoeInput in = toy_input(32);
  Tensor ids = from_values<int64_t>({32}, [] { std::vector<int64_t> v(32); for (int i = 0; i < 32; ++i) { v[i] = i; } return v; }());
  std::vector<double> gradients[2];
  int64_t peak[2];
  for (int recompute : {0, 1}) {
    RandomScope scope({.seed = 5, .step = 2});
    model.parameters().zero_gradients();
    reset_peak_memory();
    int64_t before = memory_stats().in_use;
    LimoeOutput out = model.forward(in, {.training = true, .recompute = recompute == 1});
    Tensor total = add(contrastive_loss(out.image, out.text, model.log_temperature(), ids).loss, out.aux);
    EXPECT_EQ(out.layers.size(), 2u);
    out = LimoeOutput();
    backward(total);
    peak[recompute] = memory_stats().peak - before;
    gradients[recompute] = model.parameters().gradients().to_vector<double>();
  }
  EXPECT_EQ(gradients[0], gradients[1]);
  EXPECT_LT(peak[1], peak[0] * 2 / 3);
}

TEST(Limoe, Bf16FollowsF32) {
  Limoe model(toy(), 1);
  LimoeInput in = toy_input(6);
  std::vector<double> a = model.forward(in, {}).image.to_vector<double>();
  std::vector<double> b = model.forward(in, {.dtype = DType::bf16}).image.to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) { EXPECT_NEAR(a[i], b[i], 0.05); }
}

TEST(Limoe, ErrorsNameTheShapes) {
  Limoe model(toy(), 1);
  LimoeInput in = toy_input(4);
  in.pixels = zeros({4, 32, 32, 3}, DType::u8);
  try {
    model.forward(in, {});
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(), "[limoe] pixels must be (B, 16, 16, 3), got (4, 32, 32, 3)");
  }
}

}  // namespace
}  // namespace pumice
