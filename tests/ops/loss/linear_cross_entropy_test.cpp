// Pieces of rows, and what a wrong label says. Values and gradients of small shapes: linear_cross_entropy_cases.cpp.
#include "pumice/ops/loss/linear_cross_entropy.h"

#include <gtest/gtest.h>

#include "../../message_of.h"
#include "pumice/autograd/autograd.h"
#include "pumice/ops/loss/cross_entropy.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

TEST(LinearCrossEntropy, TakenInPiecesIsTheSame) {
  constexpr int64_t kN = 40, kC = 4, kV = 300000;  // 13 rows of f32 logits would be 16 MiB: pieces of 16
  std::vector<int32_t> label(kN);
  for (int64_t n = 0; n < kN; ++n) { label[n] = n % 5 == 0 ? -100 : int32_t(n * 7001 % kV); }
  Tensor labels = from_values<int32_t>({kN}, label);
  const Tensor x0 = random_uniform_tensor({kN, kC}, -1, 1, {.seed = 1}), w0 = random_uniform_tensor({kV, kC}, -1, 1, {.seed = 2});
  Tensor x = requires_grad(x0), w = requires_grad(w0), x2 = requires_grad(x0), w2 = requires_grad(w0);
  Tensor got = linear_cross_entropy(x, w, Tensor(), labels), want = cross_entropy(linear(x2, w2, Tensor()), labels);
  EXPECT_NEAR(got.item(), want.item(), 1e-5);
  backward(got);
  backward(want);
  for (auto [a, b] : {std::pair{grad(x), grad(x2)}, {grad(w), grad(w2)}}) {
    const std::vector<float> p = a.to_vector<float>(), q = b.to_vector<float>();
    double worst = 0;
    for (size_t i = 0; i < p.size(); ++i) { worst = std::max(worst, double(std::abs(p[i] - q[i]))); }
    EXPECT_LT(worst, 1e-7);
  }
}

TEST(LinearCrossEntropy, WrongLabelsAreNamed) {
  Tensor x = zeros({2, 3}), w = zeros({4, 3});
  EXPECT_EQ(testing::message_of<UsageError>([&] { linear_cross_entropy(x, w, Tensor(), from_values<int32_t>({2}, std::vector<int32_t>{1, 4})); }),
            "[linear_cross_entropy] labels must be in [0, 4) or -100 (ignored), got 4 in row 1 of 2: does the vocabulary of the data fit the model?");
  EXPECT_EQ(testing::message_of<ShapeError>([&] { linear_cross_entropy(x, w, Tensor(), full({2}, -100, DType::i32)); }),
            "[linear_cross_entropy] at least one label that is not ignored is required, all 2 are -100: was the answer cut off by the length limit?");
}

}  // namespace
}  // namespace pumice
