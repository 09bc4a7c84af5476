#include "pumice/ops/random/dropout.h"

#include <cmath>
#include <gtest/gtest.h>

#include "pumice/autograd/autograd.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

TEST(Dropout, KeepsTheRightShareAndItsExpectation) {
  RandomScope scope({.seed = 3, .step = 1});
  Tensor y = dropout(full({200000}, 1), 0.25, 7);
  int64_t dropped = 0;
  double sum = 0;
  for (double v : y.to_vector<double>()) {
    EXPECT_TRUE(v == 0 || std::abs(v - 1 / 0.75) < 1e-6);
    dropped += v == 0;
    sum += v;
  }
  EXPECT_NEAR(double(dropped) / 200000, 0.25, 0.005);
  EXPECT_NEAR(sum / 200000, 1, 0.01);
}

TEST(Dropout, BackwardDrawsTheSameMask) {
  Tensor x = requires_grad(full({1000}, 2));
  std::vector<double> kept;
  {
    RandomScope scope({.seed = 3, .step = 9});
    Tensor y = dropout(x, 0.5, 1);
    kept = y.to_vector<double>();
    backward({&y, 1}, std::vector<Tensor>{full({1000}, 1)});
  }
  std::vector<double> g = grad(x).to_vector<double>();
  for (size_t i = 0; i < g.size(); ++i) { EXPECT_EQ(g[i], kept[i] / 2); }
}

TEST(Dropout, MaskDependsOnStepAndSiteOnly) {
  auto draw = [](uint32_t step, uint32_t site) {
    RandomScope scope({.seed = 3, .step = step});
    return dropout(full({64}, 1), 0.5, site).to_vector<double>();
  };
  EXPECT_EQ(draw(1, 2), draw(1, 2));
  EXPECT_NE(draw(1, 2), draw(2, 2));
  EXPECT_NE(draw(1, 2), draw(1, 3));
}

TEST(Dropout, ZeroIsTheIdentityAndOneIsRefused) {
  Tensor x = full({3}, 1);
  EXPECT_TRUE(dropout(x, 0, 0).same_as(x));
  try {
    dropout(x, 1, 0);
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_STREQ(e.what(), "[dropout] the probability must be in [0, 1), got 1");
  }
}

}  // namespace
}  // namespace pumice
