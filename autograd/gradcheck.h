// Compares backward() with central differences in f64.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

struct GradcheckOptions {
  double eps = 1e-5;           // step of the central difference
  double tolerance = 1e-6;     // of |numeric - analytic| / max(1, |numeric|, |analytic|)
  int64_t max_elements = 200;  // per input; of larger inputs so many, spread over all axes
};
struct GradcheckResult {
  bool ok = false;
  double worst = 0;
  std::string message;         // the worst element: input, index, numeric and analytic value
};

// f maps `inputs` (leaves made of them) to one or more outputs. All float inputs must be f64; integer inputs pass through. The
// outputs are contracted with fixed pseudo-random cotangents, so that one pass checks all of them.
using DifferentiableFunction = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;
GradcheckResult gradcheck(const DifferentiableFunction& f, const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

}  // namespace pumice
