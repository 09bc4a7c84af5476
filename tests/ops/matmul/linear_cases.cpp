#include <algorithm>

#include "pumice/ops/matmul/linear.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

std::vector<std::vector<double>> reference(const std::vector<Tensor>& in) {
  int64_t I = in[1].dim(1), O = in[1].dim(0), R = in[0].size() / I;
  const double *x = in[0].data<double>(), *w = in[1].data<double>(), *b = in.size() > 2 ? in[2].data<double>() : nullptr;
  std::vector<double> y(R * O);
  for (int64_t r = 0; r < R; ++r) {
    for (int64_t o = 0; o < O; ++o) {
      double sum = b ? b[o] : 0;
      for (int64_t i = 0; i < I; ++i) { sum += x[r * I + i] * w[o * I + i]; }
      y[r * O + o] = sum;
    }
  }
  return {y};
}

OpCase linear_case(Shape x, int64_t out, bool bias) {
  int64_t in = x.back(), rows = x.elements() / in;
  std::vector<Input> inputs = {{x}, {.shape = {out, in}}};
  if (bias) { inputs.push_back({.shape = {out}, .parameter = true}); }
  // sums of `in` products of numbers below one: rounding errors grow with their number
  bool deep = std::max(in, rows) > 64;
  return {.name = "linear rows=" + std::to_string(rows) + " in=" + std::to_string(in) + " out=" + std::to_string(out) + (bias ? " bias" : ""),
          .inputs = inputs,
          .run = [](const std::vector<Tensor>& t) { return std::vector{linear(t[0], t[1], t.size() > 2 ? t[2] : Tensor())}; },
          .reference = reference, .bytes = 4.0 * double(rows * in + in * out + rows * out), .flops = 2.0 * double(rows * in * out),
          .widen = deep ? 10.0 : 2.0, .why_widened = "a sum of many products rounds more than one product"};
}

OpCase residual_case(Shape x, int64_t out) {
  OpCase c = linear_case(x, out, true);
  Shape y = x;
  y[y.rank() - 1] = out;
  c.name += " residual";
  c.inputs.push_back({y});
  c.run = [](const std::vector<Tensor>& t) { return std::vector{linear(t[0], t[1], t[2], t[3])}; };
  c.reference = [](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
    std::vector<double> sum = reference({t[0], t[1], t[2]})[0];
    for (size_t i = 0; i < sum.size(); ++i) { sum[i] += t[3].data<double>()[i]; }
    return {sum};
  };
  return c;
}

// one row, one column, odd, around the register tile (14 x 32, 6 x 16, 4 x 8), more than one block of rows, of depth, and the cut
// by depth of the weight gradient (more than 2048 rows), and the cut by columns for up to sixteen rows
AddCases cases({linear_case({1, 1}, 1, true), linear_case({1, 7}, 3, true), linear_case({3, 5}, 4, false), linear_case({2, 3, 17}, 33, true),
                linear_case({13, 16}, 31, true), linear_case({15, 31}, 65, false), linear_case({113, 40}, 20, true), linear_case({5, 600}, 9, true),
                linear_case({2100, 12}, 10, true), linear_case({2, 33}, 17, false), linear_case({4, 70}, 37, true),
                linear_case({9, 32}, 21, true), linear_case({16, 65}, 18, false),
                // rows long enough to be multiplied where they lie: whole tiles and some rows more, over several blocks of depth
                linear_case({31, 1034}, 37, true), linear_case({17, 530}, 18, false),
                // weight gradients that are fewer tiles as their transpose (15 x 14 ones of 14 x 32), cut by depth and by tiles
                linear_case({2100, 14}, 15, true), linear_case({600, 14}, 15, false),
                residual_case({1, 1}, 1), residual_case({2, 3, 17}, 33), residual_case({70, 40}, 66), residual_case({4, 70}, 37)});

}  // namespace
}  // namespace pumice::testing
