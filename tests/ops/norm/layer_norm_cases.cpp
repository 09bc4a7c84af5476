#include <cmath>

#include "pumice/ops/norm/layer_norm.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

std::vector<std::vector<double>> reference(const std::vector<Tensor>& in) {
  int64_t C = in[0].dim(-1), R = in[0].size() / C;
  const double *x = in[0].data<double>(), *w = in[1].data<double>(), *b = in[2].data<double>();
  std::vector<double> y(R * C);
  for (int64_t r = 0; r < R; ++r) {
    double mean = 0, var = 0;
    for (int64_t c = 0; c < C; ++c) { mean += x[r * C + c] / C; }
    for (int64_t c = 0; c < C; ++c) { var += std::pow(x[r * C + c] - mean, 2) / C; }
    for (int64_t c = 0; c < C; ++c) { y[r * C + c] = (x[r * C + c] - mean) / std::sqrt(var + 1e-5) * w[c] + b[c]; }
  }
  return {y};
}

OpCase layer_norm_case(Shape x) {
  int64_t C = x.back(), n = x.elements();
  return {.name = "layer_norm rows=" + std::to_string(n / C) + " C=" + std::to_string(C),
          .inputs = {{x}, {.shape = {C}, .parameter = true}, {.shape = {C}, .parameter = true}},
          .run = [](const std::vector<Tensor>& in) { return std::vector{layer_norm(in[0], in[1], in[2])}; },
          .reference = reference, .bytes = 8.0 * n, .flops = 8.0 * n};
}

// one row, one column, odd, around the sixteen lanes, more than one block of rows; CUDA: rows of a warp, of a block, backward's longer rows,
// and rows that registers cannot hold
AddCases cases({layer_norm_case({1, 7}), layer_norm_case({3, 5}), layer_norm_case({2, 3, 31}), layer_norm_case({4, 32}),
                layer_norm_case({2, 33}), layer_norm_case({130, 16}), layer_norm_case({257, 64}), layer_norm_case({3, 264}),
                layer_norm_case({35, 1025}), layer_norm_case({2, 2056}), layer_norm_case({2, 8200}), layer_norm_case({2, 8195})});

}  // namespace
}  // namespace pumice::testing
