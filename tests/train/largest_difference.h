#pragma once
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <gtest/gtest.h>
#include <map>
#include <string>

#include "pumice/tensor/tensor.h"

namespace pumice::testing {

// The largest |a - b|; `scale` rises to the largest |b|.
inline double largest_difference(const Tensor& a, const Tensor& b, double& scale) {
  std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  EXPECT_EQ(x.size(), y.size());
  double worst = 0;
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    worst = std::max(worst, std::abs(x[i] - y[i]));
    scale = std::max(scale, std::abs(y[i]));
  }
  return worst;
}

// The largest |a - b| over the largest |b|.
inline double relative_difference(const Tensor& a, const Tensor& b) {
  double scale = 0;
  const double worst = largest_difference(a, b, scale);
  return scale > 0 ? worst / scale : worst;
}

// Expects `error` below `bound`. The worst error of each quantity of a test is a property of its result, of which tests/oracle/parity_table.py makes a
// table.
inline void expect_parity(const std::string& quantity, double error, double bound) {
  EXPECT_LT(error, bound) << quantity;
  static std::map<std::string, double> worst;  // by test and quantity
  const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
  double& known = worst[std::string(test->test_suite_name()) + "." + test->name() + "." + quantity];
  known = std::max(known, error);
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", known);
  ::testing::Test::RecordProperty(quantity, text);
}

}  // namespace pumice::testing
