#include "pumice/tensor/math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace pumice {
namespace {

const float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

template <class F, class G> double worst_relative_error(float low, float high, const F& f, const G& exact) {
  double worst = 0;
  const int steps = 400000;
  for (int i = 0; i <= steps; ++i) {
    float x = low + (high - low) * float(i) / steps;
    double want = exact(double(x)), error = std::abs(double(f(x)) - want) / std::max(std::abs(want), 1e-300);
    worst = error > worst || std::isnan(error) ? error : worst;
  }
  return worst;
}

TEST(Math, ExpSweep) {
  auto exact = [](double x) { return std::exp(x); };
  auto f = [](float x) { return exp_of(x); };
  EXPECT_LT(worst_relative_error(-87.3f, 88.3f, f, exact), 2e-7);
  EXPECT_LT(worst_relative_error(-1, 1, f, exact), 2e-7);
  EXPECT_EQ(exp_of(0.0f), 1.0f);
}

TEST(Math, TanhSweep) {
  auto exact = [](double x) { return std::tanh(x); };
  auto f = [](float x) { return tanh_of(x); };
  EXPECT_LT(worst_relative_error(-20, 20, f, exact), 3e-7);
  EXPECT_LT(worst_relative_error(-1, 1, f, exact), 3e-7);
  EXPECT_LT(worst_relative_error(1e-30f, 1e-6f, f, exact), 3e-7);
}

TEST(Math, SigmoidSweep) {
  auto exact = [](double x) { return 1 / (1 + std::exp(-x)); };
  EXPECT_LT(worst_relative_error(-87, 100, [](float x) { return sigmoid_of(x); }, exact), 3e-7);
}

TEST(Math, LogSweep) {
  auto exact = [](double x) { return std::log(x); };
  auto f = [](float x) { return log_of(x); };
  EXPECT_LT(worst_relative_error(1e-30f, 1e-20f, f, exact), 2e-7);
  EXPECT_LT(worst_relative_error(0.001f, 0.999f, f, exact), 2e-7);
  EXPECT_LT(worst_relative_error(0.9999f, 0.99999f, f, exact), 2e-7);
  EXPECT_LT(worst_relative_error(1.00001f, 1.0001f, f, exact), 2e-7);
  EXPECT_LT(worst_relative_error(1.001f, 1e6f, f, exact), 2e-7);
  EXPECT_LT(worst_relative_error(1e-44f, 1e-38f, f, exact), 2e-7) << "subnormal numbers";
  EXPECT_EQ(log_of(1.0f), 0.0f);
  EXPECT_EQ(log_of(0.0f), -kInf);
  EXPECT_EQ(log_of(-0.0f), -kInf);
  EXPECT_EQ(log_of(kInf), kInf);
  EXPECT_TRUE(std::isnan(log_of(-1e-30f)));
  EXPECT_TRUE(std::isnan(log_of(-kInf)));
  EXPECT_TRUE(std::isnan(log_of(kNan)));
}

TEST(Math, ErfSweep) {
  auto exact = [](double x) { return std::erf(x); };
  auto f = [](float x) { return erf_of(x); };
  EXPECT_LT(worst_relative_error(-6, 6, f, exact), 2e-7);
  EXPECT_LT(worst_relative_error(-1.001f, 1.001f, f, exact), 2e-7);
  EXPECT_LT(worst_relative_error(1e-30f, 1e-6f, f, exact), 2e-7);
  EXPECT_EQ(erf_of(0.0f), 0.0f);
  EXPECT_TRUE(std::signbit(erf_of(-0.0f)));
  EXPECT_EQ(erf_of(kInf), 1.0f);
  EXPECT_EQ(erf_of(-kInf), -1.0f);
  EXPECT_TRUE(std::isnan(erf_of(kNan)));
}

TEST(Math, SinAndCosOfTurns) {
  double worst = 0;
  for (int i = 0; i < (1 << 24); i += 7) {
    const float u = float(i) * 0x1p-24f;
    float s, c;
    sin_cos_of_turns(u, s, c);
    const double angle = 6.283185307179586 * double(u);
    worst = std::max({worst, std::abs(double(s) - std::sin(angle)), std::abs(double(c) - std::cos(angle))});
  }
  EXPECT_LT(worst, 2e-7);
}

TEST(Math, NanAndInfinities) {
  EXPECT_EQ(exp_of(-kInf), 0);
  EXPECT_EQ(exp_of(kInf), kInf);
  EXPECT_EQ(exp_of(89.0f), kInf);
  EXPECT_EQ(exp_of(-88.0f), 0);
  EXPECT_EQ(exp_of(std::numeric_limits<float>::max()), kInf);
  EXPECT_EQ(exp_of(std::numeric_limits<float>::lowest()), 0);
  EXPECT_TRUE(std::isnan(exp_of(kNan)));
  EXPECT_EQ(tanh_of(kInf), 1);
  EXPECT_EQ(tanh_of(-kInf), -1);
  EXPECT_TRUE(std::signbit(tanh_of(-0.0f)));
  EXPECT_TRUE(std::isnan(tanh_of(kNan)));
  EXPECT_EQ(sigmoid_of(kInf), 1);
  EXPECT_EQ(sigmoid_of(-kInf), 0);
  EXPECT_TRUE(std::isnan(sigmoid_of(kNan)));
}

TEST(Math, LaneSumTakesEveryElementOnce) {
  for (int n : {0, 1, 15, 16, 17, 31, 32, 33, 100}) {
    EXPECT_EQ(lane_sum<float>(n, [](int64_t i) { return float(i + 1); }), float(n * (n + 1) / 2)) << n;
  }
}

TEST(Math, LaneMaxFindsItAnywhereAndANanStays) {
  for (int n : {1, 15, 16, 17, 33}) {
    for (int at = 0; at < n; ++at) {
      auto with = [=](float special) { return [=](int64_t i) { return i == at ? special : -float(i); }; };
      EXPECT_EQ(lane_max<float>(n, -1e30f, with(5)), 5) << n << " " << at;
      EXPECT_TRUE(std::isnan(lane_max<float>(n, -1e30f, with(kNan)))) << n << " " << at;
    }
  }
  EXPECT_EQ(lane_max<float>(0, -7.0f, [](int64_t) { return 0.0f; }), -7);
}

}  // namespace
}  // namespace pumice
