#include <algorithm>
#include <cmath>

#include "pumice/moe/gating.h"
#include "pumice/tensor/error.h"
#include "../op_case.h"

namespace pumice::testing {
namespace {

using Doubles = std::vector<double>;

Doubles softmax_of(const double* z, int64_t E) {
  Doubles p(z, z + E);
  double sum = 0;
  for (double& v : p) { sum += v = std::exp(v); }
  for (double& v : p) { v /= sum; }
  return p;
}

// probs, gate, expert, clean, noisy, lse, noisy_lse
std::vector<Doubles> reference(const std::vector<Tensor>& in, int K) {
  const int64_t T = in[0].dim(0), E = in[0].dim(1);
  std::vector<Doubles> out(7);
  for (int64_t t = 0; t < T; ++t) {
    const double* logits = in[0].data<double>() + t * E;
    Doubles z(logits, logits + E), clean = softmax_of(logits, E);
    for (int64_t e = 0; in.size() > 1 && e < E; ++e) { z[e] += in[1].data<float>()[t * E + e]; }
    Doubles p = softmax_of(z.data(), E), left = p;
    double sum = 0, noisy_sum = 0;
    for (int64_t e = 0; e < E; ++e) {
      sum += std::exp(logits[e]);
      noisy_sum += std::exp(z[size_t(e)]);
    }
    for (int k = 0; k < K; ++k) {
      size_t best = size_t(std::max_element(left.begin(), left.end()) - left.begin());  // the first of equals
      out[1].push_back(p[best]);
      out[2].push_back(double(best));
      left[best] = -1;
    }
    out[0].insert(out[0].end(), p.begin(), p.end());
    out[3].insert(out[3].end(), clean.begin(), clean.end());
    out[4].insert(out[4].end(), z.begin(), z.end());
    out[5].push_back(std::log(sum));
    out[6].push_back(std::log(noisy_sum));
  }
  return out;
}

OpCase gating_case(int64_t T, int64_t E, int K, bool noise, bool with_graph) {
  std::vector<Input> inputs = {{.shape = {T, E}, .low = -3, .high = 3}};
  if (noise) { inputs.push_back({.shape = {T, E}, .low = -.2, .high = .2, .dtype = DType::f32, .differentiable = false}); }
  double n = double(T * E);
  return {.name = concat_text(with_graph ? "gating" : "gating_values", " T=", T, " E=", E, " K=", K, noise ? " noise" : ""), .inputs = inputs,
          .run = [=](const std::vector<Tensor>& in) {
            Gating g = gate_tokens(in[0], in.size() > 1 ? in[1] : Tensor(), Tensor(), K);
            return with_graph ? std::vector{g.probs, g.gate, g.expert} : std::vector{g.clean, g.noisy, g.lse, g.noisy_lse};
          },
          .reference = [=](const std::vector<Tensor>& in) {
            std::vector<Doubles> all = reference(in, K);
            return with_graph ? std::vector{all[0], all[1], all[2]} : std::vector{all[3], all[4], all[5], all[6]};
          },
          .bytes = (noise ? 20 : 8) * n, .flops = 5 * n, .gradient = with_graph, .bf16 = false};
}

OpCase renormalise_case(int64_t T, int64_t K, Doubles row) {
  return {.name = concat_text("renormalise_kept T=", T, " K=", K),
          .inputs = {{.shape = {T, K}, .low = .1, .high = .9},
                     {.shape = {T, K}, .dtype = DType::i32, .differentiable = false, .values = row}},
          .run = [](const std::vector<Tensor>& in) { return std::vector{renormalise_kept(in[0], in[1])}; },
          .reference = [=](const std::vector<Tensor>& in) -> std::vector<Doubles> {
            Doubles y(size_t(T * K));
            for (int64_t t = 0; t < T; ++t) {
              double sum = 0;
              for (int64_t i = t * K; i < t * K + K; ++i) { sum += row[size_t(i)] >= 0 ? in[0].data<double>()[i] : 0; }
              for (int64_t i = t * K; i < t * K + K; ++i) { y[size_t(i)] = row[size_t(i)] >= 0 ? in[0].data<double>()[i] / sum : 0; }
            }
            return {y};
          },
          .bytes = 12.0 * double(T * K), .flops = 2.0 * double(T * K), .bf16 = false};
}

// one token, one expert, all experts chosen, around the sixteen lanes, no tokens, more than one block of tokens, more experts than a
// warp holds in registers; noise
AddCases cases([] {
  std::vector<OpCase> cases = {renormalise_case(4, 2, {0, 1, -1, 2, 3, -1, -1, -1}), renormalise_case(2, 3, {0, -1, 1, 2, 3, 4})};
  for (bool with_graph : {true, false}) {
    cases.push_back(gating_case(1, 3, 1, false, with_graph));
    cases.push_back(gating_case(4, 1, 1, false, with_graph));
    cases.push_back(gating_case(5, 4, 4, false, with_graph));
    cases.push_back(gating_case(3, 15, 2, true, with_graph));
    cases.push_back(gating_case(3, 16, 1, true, with_graph));
    cases.push_back(gating_case(3, 17, 2, false, with_graph));
    cases.push_back(gating_case(0, 4, 1, false, with_graph));
    cases.push_back(gating_case(130, 33, 2, true, with_graph));
    cases.push_back(gating_case(700, 8, 1, true, with_graph));
    cases.push_back(gating_case(2, 200, 3, true, with_graph));
  }
  return cases;
}());

}  // namespace
}  // namespace pumice::testing
