#pragma once
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

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

}  // namespace pumice::testing
