#include <cmath>

#include "pumice/ops/loss/sigmoid_cross_entropy.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

OpCase sigmoid_case(int64_t N, int64_t V) {
  return {.name = concat_text("sigmoid_cross_entropy N=", N, " V=", V),
          .inputs = {{{N, V}}, Input::integers({N}, 0, V, DType::i32)},
          .run = [](const std::vector<Tensor>& in) { return std::vector{sigmoid_cross_entropy(in[0], in[1])}; },
          .reference = [=](const std::vector<Tensor>& in) -> std::vector<std::vector<double>> {
            const double* x = in[0].data<double>();
            double loss = 0;
            for (int64_t n = 0; n < N; ++n) {
              for (int64_t v = 0; v < V; ++v) {
                loss += std::log1p(std::exp(v == in[1].data<int32_t>()[n] ? -x[n * V + v] : x[n * V + v])) / double(N);
              }
            }
            return {{loss}};
          },
          .bytes = 4.0 * double(N * V), .flops = 8.0 * double(N * V)};
}

// one class, odd, more than one block of rows; on CUDA a warp and a block per row, whole and odd vectors, held in registers and not
AddCases cases({sigmoid_case(1, 1), sigmoid_case(3, 10), sigmoid_case(7, 33), sigmoid_case(130, 100), sigmoid_case(2, 4096), sigmoid_case(2, 8209)});

}  // namespace
}  // namespace pumice::testing
