#include "pumice/ops/loss/contrastive.h"

#include <cmath>

#include "pumice/autograd/autograd.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/rng.h"
#include "../../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

Tensor scalar(double value, DType dtype = DType::f32) { return full({}, value, dtype); }

TEST(ContrastiveLoss, BigVisionGolden) {  // two pairs, scale 10: both directions are 0.89211807
  Tensor image = from_values<double>({2, 2}, {1, 0, .6, .8}), text = from_values<double>({2, 2}, {.8, .6, 0, 1});
  ContrastiveResult r = contrastive_loss(image, text, scalar(std::log(10.0), DType::f64));
  EXPECT_NEAR(r.loss.item(), 0.89211807, 1e-8);
  EXPECT_EQ(r.accuracy_i2t(), 0.5);  // logits (8, 0), (9.6, 8): image 1 takes text 0
  EXPECT_EQ(r.accuracy_t2i(), 0.5);  // text 0 takes image 1
}

TEST(ContrastiveLoss, DirectionsAreAveraged) {
  // logits (2, 0), (3, 1): rows are symmetric, columns are not
  Tensor image = from_values<double>({2, 2}, {2, 0, 3, 1}), text = from_values<double>({2, 2}, {1, 0, 0, 1});
  double rows = (std::log(std::exp(2) + 1) - 2 + std::log(std::exp(3) + std::exp(1)) - 1) / 2;
  double cols = (std::log(std::exp(2) + std::exp(3)) - 2 + std::log(1 + std::exp(1)) - 1) / 2;
  EXPECT_NEAR(contrastive_loss(image, text, scalar(0, DType::f64)).loss.item(), (rows + cols) / 2, 1e-12);
  EXPECT_NEAR(contrastive_loss(text, image, scalar(0, DType::f64)).loss.item(), (rows + cols) / 2, 1e-12);
}

TEST(ContrastiveLoss, EqualCaptionsAreBothRightAndNotPushedApart) {
  Tensor image = requires_grad(from_values<double>({3, 2}, {1, 0, 1, 0, 0, 1}));
  Tensor text = requires_grad(from_values<double>({3, 2}, {1, 0, 1, 0, 0, 1}));
  ContrastiveResult r = contrastive_loss(image, text, scalar(3, DType::f64), from_values<int64_t>({3}, {-5, -5, 7}));
  EXPECT_EQ(r.accuracy_i2t(), 1);
  EXPECT_EQ(r.accuracy_t2i(), 1);
  backward(r.loss);
  std::vector<double> dx = grad(image).to_vector<double>();
  for (int c = 0; c < 2; ++c) { EXPECT_DOUBLE_EQ(dx[c], dx[2 + c]); }
  EXPECT_LT(std::abs(dx[0]), 1e-6) << "probability is split evenly between the two equal captions: nothing to push";

  ContrastiveResult apart = contrastive_loss(image, text, scalar(3, DType::f64));
  EXPECT_DOUBLE_EQ(apart.accuracy_i2t(), 2.0 / 3) << "without ids the first of two equal logits wins";
  EXPECT_GT(apart.loss.item(), 0.4);
}

TEST(ContrastiveLoss, UndefinedIdsAreAllDifferent) {
  Tensor image = random_uniform_tensor({70, 24}, -1, 1, {.site = 1}), text = random_uniform_tensor({70, 24}, -1, 1, {.site = 2});
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 70; ++i) { ids.push_back(1000 - i * i); }
  Tensor distinct = from_values<int64_t>({70}, ids);
  EXPECT_EQ(contrastive_loss(image, text, scalar(1)).loss.item(), contrastive_loss(image, text, scalar(1), distinct).loss.item());
}

TEST(ContrastiveLoss, NanReachesTheLossAndIsNoHit) {
  ContrastiveResult r = contrastive_loss(full({2, 3}, NAN), full({2, 3}, 1), scalar(0));
  EXPECT_TRUE(std::isnan(r.loss.item()));
  EXPECT_EQ(r.accuracy_i2t(), 0);
}

TEST(ContrastiveLoss, MemoryGrowsWithTheBatchNotWithItsSquare) {
  const int64_t B = 4096, C = 32;
  Tensor image = requires_grad(random_uniform_tensor({B, C}, -.3, .3, {.site = 1}));
  Tensor text = requires_grad(random_uniform_tensor({B, C}, -.3, .3, {.site = 2}));
  Tensor t = requires_grad(scalar(1));
  const int64_t before = memory_stats().in_use;
  reset_peak_memory();
  backward(contrastive_loss(image, text, t).loss);
  const int64_t peak = memory_stats().peak - before;
  EXPECT_LT(peak, B * B * 4 / 16) << "the matrix of logits alone would be " << B * B * 4 << " bytes";
  EXPECT_LT(peak, 6 * B * C * 4) << "two gradients, their accumulators, panels of one side, a few numbers per row";
  EXPECT_TRUE(grad(t).defined());
}

TEST(ContrastiveLoss, ErrorsNameShapesAndTypes) {
  auto call = [](Shape image, Shape text, Shape t = {}, Tensor ids = {}) {
    return [=] { contrastive_loss(zeros(image), zeros(text), zeros(t), ids); };
  };
  EXPECT_EQ(message_of<ShapeError>(call({4, 8}, {5, 8})),
            "[contrastive_loss] image and text must be (B, C) with at least one pair, got (4, 8) and (5, 8)");
  EXPECT_EQ(message_of<ShapeError>(call({0, 8}, {0, 8})),
            "[contrastive_loss] image and text must be (B, C) with at least one pair, got (0, 8) and (0, 8)");
  EXPECT_EQ(message_of<ShapeError>(call({4, 8}, {4, 8}, {1})), "[contrastive_loss] log_temperature must be a scalar (), got (1)");
  EXPECT_EQ(message_of<ShapeError>(call({4, 8}, {4, 8}, {}, zeros({3}, DType::i64))),
            "[contrastive_loss] caption_ids must be (B) = (4) for image (4, 8), got (3)");
  EXPECT_EQ(message_of<DTypeError>(call({4, 8}, {4, 8}, {}, zeros({4}, DType::i32))),
            "[contrastive_loss] caption_ids must be i64, got i32 (4)");
  EXPECT_EQ(message_of<DTypeError>([] { contrastive_loss(zeros({2, 3}), zeros({2, 3}, DType::bf16), zeros({})); }),
            "[contrastive_loss] text must be f32, got bf16 (2, 3)");
  Tensor half = zeros({2, 3}, DType::bf16);
  EXPECT_EQ(message_of<DTypeError>([&] { contrastive_loss(half, half, zeros({}, DType::bf16)); }),
            "[contrastive_loss] log_temperature must be f32, got bf16 ()");
}

}  // namespace
}  // namespace pumice
