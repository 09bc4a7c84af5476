#include <cmath>

#include "pumice/ops/elementwise/swiglu.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

OpCase swiglu_case(Shape x) {
  return {.name = concat_text("swiglu ", x),
          .inputs = {{x, -5, 5}, {x, -2, 2}},
          .run = [](const std::vector<Tensor>& t) { return std::vector{swiglu(t[0], t[1])}; },
          .reference = [](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
            std::vector<double> y = t[0].to_vector<double>(), up = t[1].to_vector<double>();
            for (size_t i = 0; i < y.size(); ++i) { y[i] = y[i] / (1 + std::exp(-y[i])) * up[i]; }
            return {y};
          },
          .bytes = 12.0 * double(x.elements()), .flops = 4.0 * double(x.elements())};
}

AddCases cases({swiglu_case({}), swiglu_case({1, 7}), swiglu_case({3, 33}), swiglu_case({0, 4}), swiglu_case({9000})});

}  // namespace
}  // namespace pumice::testing
