#include "pumice/ops/random/dropout.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

// Kept where the element's own uniform number is at least p. The numbers themselves are checked in philox_test.cpp.
OpCase dropout_case(const Shape& shape, double p) {
  const RandomKey key{.seed = 3, .step = 5, .site = 7};
  const double n = double(shape.elements());
  return {.name = concat_text("dropout ", shape, " p=", p), .inputs = {{.shape = shape}},
          .run = [=](const std::vector<Tensor>& in) {
            RandomScope scope(key);
            return std::vector{dropout(in[0], p, key.site)};
          },
          .reference = [=](const std::vector<Tensor>& in) {
            std::vector<double> y = in[0].to_vector<double>();
            for (size_t i = 0; i < y.size(); ++i) { y[i] = random_uniform(key, i) < float(p) ? 0 : y[i] / (1 - p); }
            return std::vector<std::vector<double>>{y};
          },
          .bytes = 8 * n, .flops = n};
}

const AddCases cases{dropout_case({1}, 0.5), dropout_case({3, 5}, 0.1), dropout_case({2, 31, 33}, 0.25), dropout_case({4099}, 0.9),
                     dropout_case({0, 3}, 0.5)};

}  // namespace
}  // namespace pumice::testing
