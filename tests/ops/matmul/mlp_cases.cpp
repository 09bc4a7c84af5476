#include <algorithm>
#include <cmath>

#include "pumice/ops/matmul/mlp.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

double gelu_of(double x, Gelu form) {
  switch (form) {
    case Gelu::tanh: return x / 2 * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case Gelu::erf: return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    default: return x / (1 + std::exp(-1.702 * x));
  }
}

// y (R, O) = x (R, I) w^T + b
std::vector<double> linear_of(const std::vector<double>& x, const Tensor& w, const Tensor* b) {
  const int64_t I = w.dim(1), O = w.dim(0), R = int64_t(x.size()) / I;
  std::vector<double> y(size_t(R * O));
  for (int64_t r = 0; r < R; ++r) {
    for (int64_t o = 0; o < O; ++o) {
      double sum = b ? b->data<double>()[o] : 0;
      for (int64_t i = 0; i < I; ++i) { sum += x[r * I + i] * w.data<double>()[o * I + i]; }
      y[r * O + o] = sum;
    }
  }
  return y;
}

OpCase mlp_case(Shape x, int64_t hidden, int64_t out, bool bias, Gelu form) {
  const int64_t in = x.back(), rows = x.elements() / in;
  std::vector<Input> inputs = {{x}, {.shape = {hidden, in}}, {.shape = {out, hidden}}};
  if (bias) {
    inputs.push_back({.shape = {hidden}, .parameter = true});
    inputs.push_back({.shape = {out}, .parameter = true});
  }
  return {.name = "mlp rows=" + std::to_string(rows) + " in=" + std::to_string(in) + " hidden=" + std::to_string(hidden) + " out=" + std::to_string(out) +
                  (bias ? " bias" : "") + (form == Gelu::tanh ? "" : form == Gelu::erf ? " erf" : " quick"),
          .inputs = inputs,
          .run = [=](const std::vector<Tensor>& t) {
            return std::vector{bias ? mlp(t[0], t[1], t[3], t[2], t[4], form) : mlp(t[0], t[1], Tensor(), t[2], Tensor(), form)};
          },
          .reference = [=](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
            std::vector<double> h = linear_of(t[0].to_vector<double>(), t[1], bias ? &t[3] : nullptr);
            for (double& v : h) { v = gelu_of(v, form); }
            return {linear_of(h, t[2], bias ? &t[4] : nullptr)};
          },
          .bytes = 4.0 * double(rows * (in + 2 * hidden + out) + hidden * (in + out)), .flops = 2.0 * double(rows * hidden * (in + out)), .widen = 10,
          .why_widened = "two sums of many products round more than one product"};
}

// one of everything, odd sizes around the register tiles, the few rows of generation, several blocks of rows, and the cut by depth of the weight gradients
AddCases cases({mlp_case({1, 1}, 1, 1, true, Gelu::tanh), mlp_case({3, 5}, 7, 4, false, Gelu::erf), mlp_case({2, 3, 9}, 33, 17, true, Gelu::quick),
                mlp_case({13, 16}, 31, 18, true, Gelu::tanh), mlp_case({70, 12}, 66, 20, true, Gelu::tanh), mlp_case({2100, 3}, 6, 4, true, Gelu::tanh),
                mlp_case({130, 8}, 40, 8, false, Gelu::quick)});

OpCase swiglu_case(Shape x, int64_t hidden, int64_t out, bool residual) {
  OpCase c = mlp_case(x, hidden, out, false, Gelu::tanh);
  const int64_t in = x.back();
  Shape y = x;
  y[y.rank() - 1] = out;
  c.name = "swiglu_" + c.name + (residual ? " residual" : "");
  c.inputs = {{x}, {.shape = {hidden, in}}, {.shape = {hidden, in}}, {.shape = {out, hidden}}};
  if (residual) { c.inputs.push_back({y}); }
  c.run = [=](const std::vector<Tensor>& t) { return std::vector{swiglu_mlp(t[0], t[1], t[2], t[3], residual ? t[4] : Tensor())}; };
  c.reference = [=](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
    std::vector<double> a = linear_of(t[0].to_vector<double>(), t[1], nullptr), b = linear_of(t[0].to_vector<double>(), t[2], nullptr);
    for (size_t i = 0; i < a.size(); ++i) { b[i] *= a[i] / (1 + std::exp(-a[i])); }
    std::vector<double> sum = linear_of(b, t[3], nullptr);
    for (size_t i = 0; residual && i < sum.size(); ++i) { sum[i] += t[4].data<double>()[i]; }
    return {sum};
  };
  return c;
}

AddCases gated({swiglu_case({1, 1}, 1, 1, false), swiglu_case({2, 3, 9}, 33, 17, true), swiglu_case({13, 16}, 31, 18, false), swiglu_case({70, 12}, 66, 20, true),
                swiglu_case({2100, 3}, 6, 4, false)});

}  // namespace
}  // namespace pumice::testing
