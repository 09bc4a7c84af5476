#include <cmath>

#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/ops/elementwise/unary.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

using Values = std::vector<std::vector<double>>;

OpCase binary_case(const char* name, Tensor (*op)(const Tensor&, const Tensor&), double (*f)(double, double), Shape a, Shape b) {
  return {.name = concat_text(name, " ", a, " ", b),
          .inputs = {{a}, {.shape = b, .low = 0.5, .high = 2}},  // away from a division by zero
          .run = [op](const std::vector<Tensor>& t) { return std::vector{op(t[0], t[1])}; },
          .reference = [f](const std::vector<Tensor>& t) -> Values {
            Shape shape = broadcast_shapes("reference", t[0].shape(), t[1].shape());
            std::vector<double> x = t[0].expand(shape).to_vector<double>(), y = t[1].expand(shape).to_vector<double>();
            for (size_t i = 0; i < x.size(); ++i) { x[i] = f(x[i], y[i]); }
            return {x};
          },
          .bytes = 12.0 * double(a.elements()), .flops = double(a.elements()), .widen = 4,
          .why_widened = "gradients of broadcast operands are sums"};
}

std::vector<OpCase> binary_cases() {
  std::vector<OpCase> all;
  for (auto [a, b] : {std::pair{Shape{}, Shape{}}, {Shape{1}, Shape{7}}, {Shape{3, 5}, Shape{3, 5}}, {Shape{2, 3, 33}, Shape{33}},
                      {Shape{4, 1, 6}, Shape{5, 1}}, {Shape{3}, Shape{2, 1, 3}}, {Shape{0, 4}, Shape{4}}, {Shape{40, 500}, Shape{40, 500}}}) {
    all.push_back(binary_case("add", add, [](double x, double y) { return x + y; }, a, b));
    all.push_back(binary_case("sub", sub, [](double x, double y) { return x - y; }, a, b));
    all.push_back(binary_case("mul", mul, [](double x, double y) { return x * y; }, a, b));
    all.push_back(binary_case("div", div, [](double x, double y) { return x / y; }, a, b));
  }
  return all;
}

OpCase map_case(const char* name, std::function<Tensor(const Tensor&)> op, double (*f)(double), Shape x, double low, double high) {
  return {.name = concat_text(name, " ", x),
          .inputs = {{.shape = x, .low = low, .high = high}},
          .run = [op](const std::vector<Tensor>& t) { return std::vector{op(t[0])}; },
          .reference = [f](const std::vector<Tensor>& t) -> Values {
            std::vector<double> y = t[0].to_vector<double>();
            for (double& v : y) { v = f(v); }
            return {y};
          },
          .bytes = 8.0 * double(x.elements()), .flops = double(x.elements())};
}

std::vector<OpCase> map_cases() {
  std::vector<OpCase> all;
  for (Shape x : {Shape{}, Shape{1, 7}, Shape{3, 31}, Shape{2, 5, 33}, Shape{0}, Shape{9000}}) {
    all.push_back(map_case("scale", [](const Tensor& t) { return scale(t, -2.5); }, [](double v) { return -2.5 * v; }, x, -1, 1));
    all.push_back(map_case("add_scalar", [](const Tensor& t) { return add_scalar(t, 0.75); }, [](double v) { return v + 0.75; }, x, -1, 1));
    all.push_back(map_case("neg", neg, [](double v) { return -v; }, x, -1, 1));
    all.push_back(map_case("exp", [](const Tensor& t) { return exp(t); }, [](double v) { return std::exp(v); }, x, -3, 3));
    all.push_back(map_case("log", [](const Tensor& t) { return log(t); }, [](double v) { return std::log(v); }, x, 0.5, 3));
    all.push_back(map_case("sqrt", [](const Tensor& t) { return sqrt(t); }, [](double v) { return std::sqrt(v); }, x, 0.5, 3));
    all.push_back(map_case("square", square, [](double v) { return v * v; }, x, -2, 2));
    all.push_back(map_case("tanh", [](const Tensor& t) { return tanh(t); }, [](double v) { return std::tanh(v); }, x, -4, 4));
    all.push_back(map_case("sigmoid", sigmoid, [](double v) { return 1 / (1 + std::exp(-v)); }, x, -4, 4));
    // away from the kink at 0, where a central difference is wrong
    all.push_back(map_case("relu+", relu, [](double v) { return v > 0 ? v : 0; }, x, 0.1, 2));
    all.push_back(map_case("relu-", relu, [](double v) { return v > 0 ? v : 0; }, x, -2, -0.1));
    all.push_back(map_case("gelu tanh", [](const Tensor& t) { return gelu(t); },
                           [](double v) { return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))); }, x, -5, 5));
    all.push_back(map_case("gelu erf", [](const Tensor& t) { return gelu(t, Gelu::erf); },
                           [](double v) { return 0.5 * v * (1 + std::erf(v / std::sqrt(2))); }, x, -5, 5));
    all.push_back(map_case("gelu quick", [](const Tensor& t) { return gelu(t, Gelu::quick); }, [](double v) { return v / (1 + std::exp(-1.702 * v)); }, x,
                           -5, 5));
    all.push_back(map_case("silu", silu, [](double v) { return v / (1 + std::exp(-v)); }, x, -5, 5));
  }
  return all;
}

OpCase cast_case(Shape x) {
  OpCase c = map_case(
      "cast", [](const Tensor& t) { return cast(t, t.dtype() == DType::f64 ? DType::f64 : DType::f32); }, [](double v) { return v; }, x, -1, 1);
  return c;
}

AddCases binaries(binary_cases());
AddCases maps(map_cases());
AddCases casts({cast_case({3, 17}), cast_case({1})});

}  // namespace
}  // namespace pumice::testing
