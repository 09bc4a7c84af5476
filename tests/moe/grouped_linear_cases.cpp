#include <cmath>

#include "pumice/moe/grouped_linear.h"
#include "pumice/tensor/error.h"
#include "../op_case.h"

namespace pumice::testing {
namespace {

OpCase grouped_case(std::vector<double> offsets, int64_t in, int64_t out, bool bias) {
  const int64_t E = int64_t(offsets.size()) - 1, R = int64_t(offsets.back());
  std::vector<Input> inputs = {{.shape = {R, in}}, {.shape = {E, out, in}},
                               {.shape = {E + 1}, .dtype = DType::i32, .differentiable = false, .values = offsets}};
  if (bias) { inputs.push_back({.shape = {E, out}, .parameter = true}); }
  auto reference = [=](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
    const double *x = t[0].data<double>(), *w = t[1].data<double>(), *b = bias ? t[3].data<double>() : nullptr;
    std::vector<double> y(size_t(R * out));
    for (int64_t e = 0; e < E; ++e) {
      for (int64_t r = int64_t(offsets[e]); r < int64_t(offsets[e + 1]); ++r) {
        for (int64_t o = 0; o < out; ++o) {
          double sum = b ? b[e * out + o] : 0;
          for (int64_t i = 0; i < in; ++i) { sum += x[r * in + i] * w[(e * out + o) * in + i]; }
          y[r * out + o] = sum;
        }
      }
    }
    return {y};
  };
  return {.name = "grouped_linear E=" + std::to_string(E) + " rows=" + std::to_string(R) + " in=" + std::to_string(in) +
                  " out=" + std::to_string(out),
          .inputs = inputs,
          .run = [bias](const std::vector<Tensor>& t) { return std::vector{grouped_linear(t[0], t[1], bias ? t[3] : Tensor(), t[2])}; },
          .reference = reference,
          .bytes = 4.0 * double(R * (in + out) + E * in * out), .flops = 2.0 * double(R * in * out), .widen = 4,
          .why_widened = "a sum of many products rounds more than one product"};
}

// one expert, empty experts at every place, no rows at all, rows beyond one tile, and the cut by depth of the weight gradient
AddCases cases({grouped_case({0, 3}, 5, 2, true), grouped_case({0, 0, 4, 4, 9, 9}, 7, 33, true), grouped_case({0, 0, 0}, 4, 3, false),
                grouped_case({0, 130, 131, 200}, 16, 31, false), grouped_case({0, 2050, 2055}, 6, 5, true)});

// Enough experts for the tiles of 128 of a card. Forward only: at this size a numeric gradient would take minutes.
OpCase many_experts() {
  std::vector<double> offsets = {0};
  for (int e = 0; e < 132; ++e) { offsets.push_back(offsets.back() + (e % 3 == 1 ? 130 : e % 3 == 2 ? 66 : 0)); }
  OpCase c = grouped_case(offsets, 72, 66, true);
  c.gradient = c.strided_inputs = false;
  c.widen = 10;
  return c;
}
// Few rows of many features, which a CPU cuts by depth, and an expert without any.
OpCase deep() {
  OpCase c = grouped_case({0, 3, 3, 5, 9}, 1100, 5, true);
  c.gradient = c.strided_inputs = false;
  c.widen = 10;
  return c;
}
AddCases large({many_experts(), deep()});

OpCase grouped_mlp_case(std::vector<double> offsets, int64_t in, int64_t hidden, int64_t out, bool bias) {
  const int64_t E = int64_t(offsets.size()) - 1, R = int64_t(offsets.back());
  std::vector<Input> inputs = {{.shape = {R, in}}, {.shape = {E, hidden, in}}, {.shape = {E, out, hidden}},
                               {.shape = {E + 1}, .dtype = DType::i32, .differentiable = false, .values = offsets}};
  if (bias) {
    inputs.push_back({.shape = {E, hidden}, .parameter = true});
    inputs.push_back({.shape = {E, out}, .parameter = true});
  }
  auto reference = [=](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
    const double *x = t[0].data<double>(), *up = t[1].data<double>(), *down = t[2].data<double>();
    std::vector<double> y(size_t(R * out)), g(static_cast<size_t>(hidden));
    for (int64_t e = 0; e < E; ++e) {
      for (int64_t r = int64_t(offsets[e]); r < int64_t(offsets[e + 1]); ++r) {
        for (int64_t f = 0; f < hidden; ++f) {
          double h = bias ? t[4].data<double>()[e * hidden + f] : 0;
          for (int64_t i = 0; i < in; ++i) { h += x[r * in + i] * up[(e * hidden + f) * in + i]; }
          g[f] = h / 2 * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (h + 0.044715 * h * h * h)));
        }
        for (int64_t o = 0; o < out; ++o) {
          double sum = bias ? t[5].data<double>()[e * out + o] : 0;
          for (int64_t f = 0; f < hidden; ++f) { sum += g[f] * down[(e * out + o) * hidden + f]; }
          y[r * out + o] = sum;
        }
      }
    }
    return {y};
  };
  return {.name = concat_text("grouped_mlp E=", E, " rows=", R, " in=", in, " hidden=", hidden, " out=", out, bias ? " bias" : ""),
          .inputs = inputs,
          .run = [bias](const std::vector<Tensor>& t) {
            return std::vector{bias ? grouped_mlp(t[0], t[1], t[4], t[2], t[5], t[3]) : grouped_mlp(t[0], t[1], Tensor(), t[2], Tensor(), t[3])};
          },
          .reference = reference,
          .bytes = 4.0 * double(R * (in + 2 * hidden + out) + E * hidden * (in + out)), .flops = 2.0 * double(R * hidden * (in + out)), .widen = 10,
          .why_widened = "two sums of many products round more than one product"};
}
// as above: one expert, empty experts, no rows, more than one tile, odd sizes
AddCases mlps({grouped_mlp_case({0, 3}, 5, 4, 2, true), grouped_mlp_case({0, 0, 4, 4, 9, 9}, 7, 33, 6, true), grouped_mlp_case({0, 0, 0}, 4, 3, 2, false),
               grouped_mlp_case({0, 70, 71, 90}, 8, 16, 8, true)});

OpCase grouped_swiglu_case(std::vector<double> offsets, int64_t in, int64_t hidden, int64_t out) {
  OpCase c = grouped_mlp_case(offsets, in, hidden, out, false);
  const int64_t E = int64_t(offsets.size()) - 1, R = int64_t(offsets.back());
  c.name.replace(0, 8, "grouped_swiglu_");
  c.inputs = {{.shape = {R, in}}, {.shape = {E, hidden, in}}, {.shape = {E, hidden, in}}, {.shape = {E, out, hidden}}, c.inputs[3]};
  c.run = [](const std::vector<Tensor>& t) { return std::vector{grouped_swiglu_mlp(t[0], t[1], t[2], t[3], t[4])}; };
  c.reference = [=](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
    const double *x = t[0].data<double>(), *gate = t[1].data<double>(), *up = t[2].data<double>(), *down = t[3].data<double>();
    std::vector<double> y(size_t(R * out)), g(static_cast<size_t>(hidden));
    for (int64_t e = 0; e < E; ++e) {
      for (int64_t r = int64_t(offsets[e]); r < int64_t(offsets[e + 1]); ++r) {
        for (int64_t f = 0; f < hidden; ++f) {
          double a = 0, b = 0;
          for (int64_t i = 0; i < in; ++i) {
            a += x[r * in + i] * gate[(e * hidden + f) * in + i];
            b += x[r * in + i] * up[(e * hidden + f) * in + i];
          }
          g[f] = a / (1 + std::exp(-a)) * b;
        }
        for (int64_t o = 0; o < out; ++o) {
          for (int64_t f = 0; f < hidden; ++f) { y[r * out + o] += g[f] * down[(e * out + o) * hidden + f]; }
        }
      }
    }
    return {y};
  };
  return c;
}
AddCases gated({grouped_swiglu_case({0, 3}, 5, 4, 2), grouped_swiglu_case({0, 0, 4, 4, 9, 9}, 7, 33, 6), grouped_swiglu_case({0, 0, 0}, 4, 3, 2),
                grouped_swiglu_case({0, 70, 71, 90}, 8, 16, 8)});

}  // namespace
}  // namespace pumice::testing
