#include <cmath>

#include "pumice/ops/loss/linear_cross_entropy.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

// Every third label is ignored, unless there is only one.
OpCase linear_cross_entropy_case(int64_t N, int64_t C, int64_t V, bool bias) {
  std::vector<double> labels;
  for (int64_t n = 0; n < N; ++n) { labels.push_back(N > 1 && n % 3 == 1 ? -100.0 : double((n * 7919) % V)); }
  const auto reference = [=](const std::vector<Tensor>& in) -> std::vector<std::vector<double>> {
    const double *x = in[0].data<double>(), *w = in[1].data<double>();
    double loss = 0, counted = 0;
    for (int64_t n = 0; n < N; ++n) {
      if (labels[n] < 0) { continue; }
      double sum = 0, own = 0;
      for (int64_t v = 0; v < V; ++v) {
        double logit = bias ? in[2].data<double>()[v] : 0;
        for (int64_t c = 0; c < C; ++c) { logit += x[n * C + c] * w[v * C + c]; }
        sum += std::exp(logit);
        if (v == int64_t(labels[n])) { own = logit; }
      }
      loss += std::log(sum) - own;
      counted += 1;
    }
    return {{loss / counted}};
  };
  OpCase c{.name = concat_text("linear_cross_entropy N=", N, " C=", C, " V=", V, bias ? " bias" : ""),
           .inputs = {{{N, C}}, {{V, C}}},
           .reference = reference, .bytes = 4.0 * double(N * C + V * C), .flops = 2.0 * double(N * C * V)};
  if (bias) { c.inputs.push_back({.shape = {V}, .parameter = true}); }
  c.inputs.push_back({.shape = {N}, .dtype = DType::i32, .differentiable = false, .values = labels});
  c.run = [bias](const std::vector<Tensor>& in) { return std::vector{linear_cross_entropy(in[0], in[1], bias ? in[2] : Tensor(), in.back())}; };
  return c;
}

// one row, one class, odd sizes; rows taken in pieces: linear_cross_entropy_test.cpp
AddCases cases({linear_cross_entropy_case(1, 3, 1, false), linear_cross_entropy_case(1, 4, 5, true), linear_cross_entropy_case(7, 5, 17, false),
                linear_cross_entropy_case(33, 8, 31, true)});

}  // namespace
}  // namespace pumice::testing
