#include <cmath>

#include "pumice/ops/norm/rms_norm.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

std::vector<std::vector<double>> reference(const std::vector<Tensor>& in) {
  const int64_t C = in[0].dim(-1), R = in[0].size() / C;
  const double *x = in[0].data<double>(), *w = in[1].data<double>();
  std::vector<double> y(R * C);
  for (int64_t r = 0; r < R; ++r) {
    double mean = 0;
    for (int64_t c = 0; c < C; ++c) { mean += x[r * C + c] * x[r * C + c] / C; }
    for (int64_t c = 0; c < C; ++c) { y[r * C + c] = x[r * C + c] / std::sqrt(mean + 1e-6) * w[c]; }
  }
  return {y};
}

OpCase rms_norm_case(Shape x) {
  const int64_t C = x.back(), n = x.elements();
  return {.name = "rms_norm rows=" + std::to_string(n / C) + " C=" + std::to_string(C),
          .inputs = {{x}, {.shape = {C}, .parameter = true}},
          .run = [](const std::vector<Tensor>& in) { return std::vector{rms_norm(in[0], in[1])}; },
          .reference = reference, .bytes = 8.0 * n, .flops = 4.0 * n};
}

// one row, odd, around the sixteen lanes, more than one block of rows; CUDA: rows of a warp, of a block, backward's longer rows, and rows
// that registers cannot hold
AddCases cases({rms_norm_case({1, 7}), rms_norm_case({3, 5}), rms_norm_case({2, 3, 31}), rms_norm_case({4, 32}), rms_norm_case({2, 33}),
                rms_norm_case({130, 16}), rms_norm_case({257, 64}), rms_norm_case({3, 264}), rms_norm_case({35, 1025}), rms_norm_case({2, 2056}),
                rms_norm_case({2, 8200}), rms_norm_case({2, 8195})});

}  // namespace
}  // namespace pumice::testing
