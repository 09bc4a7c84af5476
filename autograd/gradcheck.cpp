#include "pumice/autograd/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "pumice/autograd/autograd.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

double contract(const std::vector<Tensor>& outputs, const std::vector<Tensor>& cotangents) {
  double total = 0;
  for (size_t k = 0; k < outputs.size(); ++k) {
    if (!is_float(outputs[k].dtype())) { continue; }
    std::vector<double> y = outputs[k].to_vector<double>(), g = cotangents[k].to_vector<double>();
    for (size_t i = 0; i < y.size(); ++i) { total += y[i] * g[i]; }
  }
  return total;
}

}  // namespace

GradcheckResult gradcheck(const DifferentiableFunction& f, const std::vector<Tensor>& inputs, const GradcheckOptions& options) {
  std::vector<Tensor> leaves;
  for (const Tensor& x : inputs) {
    bool differentiable = x.defined() && is_float(x.dtype());
    REQUIRE(DTypeError, !differentiable || x.dtype() == DType::f64, "[gradcheck] float inputs must be f64, got ", name(x.dtype()));
    leaves.push_back(differentiable ? requires_grad(x) : x);
  }
  std::vector<Tensor> outputs = f(leaves), cotangents(outputs.size()), used, gradients;
  for (size_t k = 0; k < outputs.size(); ++k) {
    if (!is_float(outputs[k].dtype())) { continue; }
    cotangents[k] = to_dtype(random_uniform_tensor(outputs[k].shape(), -1, 1, {.seed = 1337, .site = uint32_t(k)}), DType::f64);
    if (needs_grad(outputs[k])) {
      used.push_back(outputs[k]);
      gradients.push_back(cotangents[k]);
    }
  }
  outputs.clear();
  backward(used, gradients);
  used.clear();

  GradcheckResult result{true, 0, ""};
  NoGrad no_grad;
  for (size_t k = 0; k < leaves.size(); ++k) {
    if (!leaves[k].defined() || !needs_grad(leaves[k])) { continue; }
    Tensor analytic = grad(leaves[k]);
    if (!analytic.defined()) { return {false, INFINITY, concat_text("input ", k, " ", leaves[k].shape(), " got no gradient")}; }
    std::vector<double> got = analytic.to_vector<double>();
    // Strided inputs are perturbed in place, element by element in storage order; an expanded input moves all its copies.
    REQUIRE(ShapeError, leaves[k].contiguous(), "[gradcheck] contiguous inputs are required, got strides ", leaves[k].strides());
    double* x = leaves[k].data<double>();
    // A stride near the golden section that shares no factor with the size visits other rows and columns at every step, and none twice.
    const int64_t size = leaves[k].size();
    int64_t stride = std::max<int64_t>(1, int64_t(0.618 * double(size)));
    while (std::gcd(stride, size) > 1) { ++stride; }
    for (int64_t visited = 0; visited < std::min(size, options.max_elements); ++visited) {
      const int64_t i = visited * stride % size;
      double keep = x[i];
      x[i] = keep + options.eps;
      double up = contract(f(leaves), cotangents);
      x[i] = keep - options.eps;
      double down = contract(f(leaves), cotangents);
      x[i] = keep;
      double numeric = (up - down) / (2 * options.eps);
      double error = std::abs(numeric - got[i]) / std::max({1.0, std::abs(numeric), std::abs(got[i])});
      if (!(error <= result.worst)) {  // a NaN counts as infinitely wrong
        result.worst = std::isnan(error) ? INFINITY : error;
        result.message = concat_text("input ", k, " element ", i, ": numeric ", numeric, ", backward ", got[i]);
      }
    }
  }
  result.ok = result.worst <= options.tolerance;
  return result;
}

}  // namespace pumice
