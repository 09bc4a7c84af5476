#include "pumice/ops/loss/cross_entropy.h"

#include <cmath>
#include <limits>

#include "pumice/autograd/autograd.h"
#include "../../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

TEST(CrossEntropy, UniformLogitsGiveLogOfVocabularyAndIgnoredRowsNoGradient) {
  Tensor x = requires_grad(zeros({3, 4}));
  Tensor y = cross_entropy(x, from_values<int32_t>({3}, {2, -100, 0}));
  EXPECT_FLOAT_EQ(float(y.item()), std::log(4.0f));
  backward(y);
  const std::vector<float> want = {.125f, .125f, -.375f, .125f, 0, 0, 0, 0, -.375f, .125f, .125f, .125f};
  std::vector<float> got = grad(x).to_vector<float>();
  for (int i = 0; i < 12; ++i) { EXPECT_NEAR(got[i], want[i], 1e-6) << i; }
}

TEST(CrossEntropy, MaskedLogitsAreAllowed) {
  const float inf = std::numeric_limits<float>::infinity();
  Tensor x = requires_grad(from_values<float>({1, 3}, {-inf, 1, 1}));
  Tensor y = cross_entropy(x, from_values<int32_t>({1}, {1}));
  EXPECT_FLOAT_EQ(float(y.item()), std::log(2.0f));
  backward(y);
  EXPECT_EQ(grad(x).to_vector<float>()[0], 0);
}

TEST(CrossEntropy, ErrorsNameRowAndValue) {
  auto call = [](Shape logits, std::vector<int32_t> labels, int ignore = -100, double smoothing = 0) {
    return [=] { cross_entropy(zeros(logits), from_values<int32_t>({int64_t(labels.size())}, labels), ignore, smoothing); };
  };
  EXPECT_EQ(message_of<UsageError>(call({4, 10}, {1, -100, 3, 10})),
            "[cross_entropy] labels must be in [0, 10) or -100 (ignored), got 10 in row 3 of 4 for logits (4, 10): "
            "does the vocabulary of the data fit the model?");
  EXPECT_EQ(message_of<UsageError>(call({2, 10}, {-100, 3}, -1)),
            "[cross_entropy] labels must be in [0, 10) or -1 (ignored), got -100 in row 0 of 2 for logits (2, 10): "
            "does the vocabulary of the data fit the model?");
  EXPECT_EQ(message_of<ShapeError>(call({2, 10}, {-100, -100})),
            "[cross_entropy] at least one label that is not ignored is required, all 2 are -100 for logits (2, 10): "
            "was the answer cut off by the length limit?");
  EXPECT_EQ(message_of<ShapeError>(call({0, 10}, {})),
            "[cross_entropy] at least one label that is not ignored is required, all 0 are -100 for logits (0, 10): "
            "was the answer cut off by the length limit?");
  EXPECT_EQ(message_of<ShapeError>(call({2, 10}, {1, 2, 3})),
            "[cross_entropy] logits must be (N, V) and labels (N), got (2, 10) and (3)");
  EXPECT_EQ(message_of<UsageError>(call({1, 10}, {1}, -100, 1.5)), "[cross_entropy] label_smoothing must be in [0, 1], got 1.5");
  EXPECT_EQ(message_of<DTypeError>([] { cross_entropy(zeros({2, 3}), zeros({2}, DType::i64)); }),
            "[cross_entropy] labels must be i32, got i64 (2)");
  EXPECT_EQ(message_of<DTypeError>([] { cross_entropy(zeros({2, 3}, DType::i32), zeros({2}, DType::i32)); }),
            "[cross_entropy] logits must be f32, bf16 or f64, got i32 (2, 3)");
}

}  // namespace
}  // namespace pumice
