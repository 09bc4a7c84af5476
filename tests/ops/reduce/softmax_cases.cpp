#include <cmath>

#include "pumice/ops/reduce/softmax.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

std::vector<std::vector<double>> reference(const Tensor& input, bool logarithm) {
  int64_t C = input.dim(-1), R = C ? input.size() / C : 0;
  const double* x = input.data<double>();
  std::vector<double> y(R * C);
  for (int64_t r = 0; r < R; ++r) {
    double top = -INFINITY, sum = 0;
    for (int64_t c = 0; c < C; ++c) { top = std::max(top, x[r * C + c]); }
    for (int64_t c = 0; c < C; ++c) { sum += std::exp(x[r * C + c] - top); }
    for (int64_t c = 0; c < C; ++c) {
      double log_p = x[r * C + c] - top - std::log(sum);
      y[r * C + c] = logarithm ? log_p : std::exp(log_p);
    }
  }
  return {y};
}

OpCase softmax_case(Shape x, double range = 3) {
  double n = double(x.elements());
  return {.name = concat_text("softmax ", x), .inputs = {{x, -range, range}},
          .run = [](const std::vector<Tensor>& in) { return std::vector{softmax(in[0])}; },
          .reference = [](const std::vector<Tensor>& in) { return reference(in[0], false); }, .bytes = 8 * n, .flops = 5 * n};
}
OpCase log_softmax_case(Shape x, double range = 3) {
  double n = double(x.elements());
  return {.name = concat_text("log_softmax ", x), .inputs = {{x, -range, range}},
          .run = [](const std::vector<Tensor>& in) { return std::vector{log_softmax(in[0])}; },
          .reference = [](const std::vector<Tensor>& in) { return reference(in[0], true); }, .bytes = 8 * n, .flops = 5 * n};
}

// one column, one row, odd, around the sixteen lanes, no rows, more than one piece of a row (1024), more than one block of rows;
// CUDA: rows of a warp, of a block, and longer than registers hold
const std::vector<Shape> shapes = {{4, 1}, {7}, {2, 3, 5}, {3, 15}, {3, 16}, {3, 17}, {0, 4}, {2, 1025}, {2, 3000}, {200, 33}, {2, 8200}, {2, 8193}};

AddCases softmax_cases([] {
  std::vector<OpCase> cases;
  for (const Shape& s : shapes) {
    cases.push_back(softmax_case(s));
    cases.push_back(log_softmax_case(s));
  }
  // far apart: the exponentials underflow to exact zeros, and the sums would overflow without the maximum taken out
  cases.push_back(softmax_case({5, 40}, 200));
  cases.push_back(log_softmax_case({5, 40}, 200));
  cases.push_back(softmax_case({128, 512}));
  return cases;
}());

}  // namespace
}  // namespace pumice::testing
