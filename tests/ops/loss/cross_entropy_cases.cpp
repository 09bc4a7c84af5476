#include <cmath>

#include "pumice/ops/loss/cross_entropy.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

// Every third label is `ignore`, unless there is only one.
OpCase cross_entropy_case(int64_t N, int64_t V, double smoothing = 0, int ignore = -100) {
  std::vector<double> labels;
  for (int64_t n = 0; n < N; ++n) { labels.push_back(N > 1 && n % 3 == 1 ? double(ignore) : double((n * 7919) % V)); }
  auto reference = [=](const std::vector<Tensor>& in) {
    const double* x = in[0].data<double>();
    const int32_t* label = in[1].data<int32_t>();
    double loss = 0, counted = 0;
    for (int64_t n = 0; n < N; ++n, x += V) {
      if (label[n] == ignore) { continue; }
      double sum = 0;
      for (int64_t v = 0; v < V; ++v) { sum += std::exp(x[v]); }
      for (int64_t v = 0; v < V; ++v) {
        double target = (v == label[n]) * (1 - smoothing) + smoothing / V;
        loss -= target * std::log(std::exp(x[v]) / sum);
      }
      counted += 1;
    }
    return std::vector<std::vector<double>>{{loss / counted}};
  };
  Input label_input = {.shape = {N}, .dtype = DType::i32, .differentiable = false, .values = labels};
  return {.name = concat_text("cross_entropy N=", N, " V=", V, " smoothing=", smoothing, " ignore=", ignore),
          .inputs = {{{N, V}, -4, 4}, label_input},
          .run = [=](const std::vector<Tensor>& in) { return std::vector{cross_entropy(in[0], in[1], ignore, smoothing)}; },
          .reference = reference, .bytes = 4.0 * N * V, .flops = 4.0 * N * V};
}

// one row, one class, odd, around the sixteen lanes, smoothing, another ignored label, more than one piece of a row (1024), more
// than one block of rows, a vocabulary; on CUDA a block per row of whole and of odd vectors, held in registers and not
AddCases cases({cross_entropy_case(1, 1), cross_entropy_case(1, 5), cross_entropy_case(5, 15), cross_entropy_case(4, 16, 0.1),
                cross_entropy_case(7, 17, 0.25, -1), cross_entropy_case(3, 33, 1), cross_entropy_case(3, 2500, 0.1),
                cross_entropy_case(300, 31), cross_entropy_case(16, 32000), cross_entropy_case(3, 4096, 0.1), cross_entropy_case(2, 8209)});

}  // namespace
}  // namespace pumice::testing
