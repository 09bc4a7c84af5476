#include <cmath>

#include "pumice/ops/norm/l2_normalize.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

OpCase l2_normalize_case(Shape x, double eps = 1e-8) {
  double n = double(x.elements());
  auto reference = [eps](const std::vector<Tensor>& in) {
    int64_t C = in[0].dim(-1), R = C ? in[0].size() / C : 0;
    const double* x = in[0].data<double>();
    std::vector<double> y(R * C);
    for (int64_t r = 0; r < R; ++r) {
      double square = 0;
      for (int64_t c = 0; c < C; ++c) { square += x[r * C + c] * x[r * C + c]; }
      for (int64_t c = 0; c < C; ++c) { y[r * C + c] = x[r * C + c] / (std::sqrt(square) + eps); }
    }
    return std::vector<std::vector<double>>{y};
  };
  return {.name = concat_text("l2_normalize ", x, " eps=", eps), .inputs = {{x, -2, 2.5}},
          .run = [eps](const std::vector<Tensor>& in) { return std::vector{l2_normalize(in[0], eps)}; },
          .reference = reference, .bytes = 8 * n, .flops = 3 * n};
}

// one row, odd, around the sixteen lanes, no rows, a large eps (its part of the gradient shows), more than one block of rows;
// CUDA: rows of a warp, of a block, and longer than registers hold
AddCases cases({l2_normalize_case({7}), l2_normalize_case({3, 5}), l2_normalize_case({2, 2, 15}), l2_normalize_case({3, 16}),
                l2_normalize_case({3, 17}), l2_normalize_case({0, 8}), l2_normalize_case({4, 9}, 0.5),
                l2_normalize_case({700, 32}), l2_normalize_case({3, 1032}), l2_normalize_case({2, 8200}), l2_normalize_case({2, 8193}),
                l2_normalize_case({64, 512})});

}  // namespace
}  // namespace pumice::testing
