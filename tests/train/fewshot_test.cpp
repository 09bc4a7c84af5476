#include "pumice/train/eval/fewshot.h"

#include <cmath>
#include <gtest/gtest.h>

#include "pumice/tensor/rng.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

TEST(Fewshot, RidgeIsTheSameFromBothSides) {
  // n >= d + 1 solves for weights, n < d + 1 for multipliers: duplicating every row and the penalty with it must change nothing,
  // and moves the problem from the one to the other.
  const int64_t n = 5, d = 7;
  Tensor x = random_uniform_tensor({n, d}, -1, 1, {.seed = 3}), twice = empty({2 * n, d}),
         asked = random_uniform_tensor({200, d}, -2, 2, {.seed = 4});
  copy_into(twice.slice(0, 0, n), x);
  copy_into(twice.slice(0, n, 2 * n), x);
  const std::vector<int> labels = {0, 1, 2, 1, 0};
  std::vector<int> both = labels;
  both.insert(both.end(), labels.begin(), labels.end());
  EXPECT_EQ(RidgeClassifier(x, labels, 3, 0.5).predict(asked), RidgeClassifier(twice, both, 3, 1.0).predict(asked));
}

TEST(Fewshot, FollowsTheNormalEquations) {
  // One feature, so that W can be written down: z = ((x - m) / s, 100) has orthogonal columns.
  Tensor x = from_values<float>({4, 1}, std::vector<float>{0, 1, 2, 5});
  const std::vector<int> labels = {0, 0, 1, 1};
  const double m = 2, s = std::sqrt((4.0 + 1 + 0 + 9) / 4) + 1e-5, l2 = 3;
  // class 1: y = (-1, -1, 1, 1), mean 0, so the bias is 0 and a class is chosen by the sign of x - m
  const double sum = (2 + 1 + 0 + 3) / s, square = 14 / (s * s);
  EXPECT_GT(sum / (square + l2), 0);
  std::vector<int> guess = RidgeClassifier(x, labels, 2, l2).predict(from_values<float>({4, 1}, std::vector<float>{1.9f, 2.1f, -9, 9}));
  EXPECT_EQ(guess, (std::vector<int>{0, 1, 0, 1}));
  // an unbalanced set moves the border: y of class 1 is (-1, -1, -1, 1), bias weight -200 / (40000 + l2), slope (2 + 1 + 0 + 3) / ...
  const double slope = ((2 + 1 - 0) + 3) / s / (square + l2), bias = 100 * -200.0 / (40000 + l2), border = m - bias / slope * s;
  RidgeClassifier unbalanced(x, {0, 0, 0, 1}, 2, l2);
  EXPECT_EQ(unbalanced.predict(from_values<float>({2, 1}, std::vector<float>{float(border - 0.01), float(border + 0.01)})), (std::vector<int>{0, 1}));
}

TEST(Fewshot, RefusesWhatCannotBeSolved) {
  Tensor x = zeros({2, 3});
  EXPECT_NE(message_of<ShapeError>([&] { RidgeClassifier r(x, {0}, 2, 1); }).find("one label per row"), std::string::npos);
  EXPECT_EQ(RidgeClassifier(x, {0, 1}, 2, 1).predict(x), (std::vector<int>{0, 0}));  // equal features tell nothing apart
  fill(x, NAN);
  EXPECT_NE(message_of<NumericError>([&] { RidgeClassifier r(x, {0, 1}, 2, 1); }).find("infinite or NaN"), std::string::npos);
}

}  // namespace
}  // namespace pumice
