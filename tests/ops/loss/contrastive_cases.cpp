#include <cmath>

#include "pumice/ops/loss/contrastive.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

// exp(t) * <image_i, text_j>
std::vector<double> logits_of(const std::vector<Tensor>& in) {
  const int64_t B = in[0].dim(0), C = in[0].dim(1);
  const double *image = in[0].data<double>(), *text = in[1].data<double>(), scale = std::exp(in[2].item());
  std::vector<double> logits(B * B);
  for (int64_t i = 0; i < B; ++i) {
    for (int64_t j = 0; j < B; ++j) {
      for (int64_t c = 0; c < C; ++c) { logits[i * B + j] += scale * image[i * C + c] * text[j * C + c]; }
    }
  }
  return logits;
}

std::vector<std::vector<double>> reference(const std::vector<Tensor>& in) {
  const int64_t B = in[0].dim(0);
  const int64_t* id = in[3].data<int64_t>();
  const std::vector<double> logits = logits_of(in);
  double loss = 0;
  for (int direction = 0; direction < 2; ++direction) {
    for (int64_t i = 0; i < B; ++i) {
      double sum = 0, right = 0, count = 0;
      for (int64_t j = 0; j < B; ++j) {
        double logit = direction ? logits[j * B + i] : logits[i * B + j];
        sum += std::exp(logit);
        right += id[i] == id[j] ? logit : 0;
        count += id[i] == id[j];
      }
      loss += (std::log(sum) - right / count) / (2 * B);
    }
  }
  return {{loss}};
}

// Captions repeat when there are fewer ids than pairs.
OpCase contrastive_case(int64_t B, int64_t C, int64_t ids, double log_temperature = 1) {
  return {.name = concat_text("contrastive_loss B=", B, " C=", C, " ids=", ids),
          .inputs = {{{B, C}}, {{B, C}}, {.shape = {}, .parameter = true, .values = {log_temperature}},
                     Input::integers({B}, 0, ids, DType::i64)},
          .run = [](const std::vector<Tensor>& in) { return std::vector{contrastive_loss(in[0], in[1], in[2], in[3]).loss}; },
          .reference = reference, .bytes = 8.0 * B * C, .flops = 4.0 * B * B * C};
}

std::vector<std::vector<double>> sigmoid_reference(const std::vector<Tensor>& in) {
  const int64_t B = in[0].dim(0);
  const int64_t* id = in[4].data<int64_t>();
  const std::vector<double> logits = logits_of(in);
  double loss = 0;
  for (int64_t i = 0; i < B; ++i) {
    for (int64_t j = 0; j < B; ++j) {
      const double l = logits[i * B + j] + in[3].item();
      loss += std::log1p(std::exp(id[i] == id[j] ? -l : l)) / double(B);
    }
  }
  return {{loss}};
}

OpCase sigmoid_case(int64_t B, int64_t C, int64_t ids, double log_temperature, double bias) {
  OpCase c = contrastive_case(B, C, ids, log_temperature);
  c.name = "sigmoid_" + c.name;
  c.inputs.insert(c.inputs.begin() + 3, {.shape = {}, .parameter = true, .values = {bias}});
  c.run = [](const std::vector<Tensor>& in) { return std::vector{sigmoid_contrastive_loss(in[0], in[1], in[2], in[3], in[4]).loss}; };
  c.reference = sigmoid_reference;
  return c;
}

// one pair, one column, rows around 4 and 8, columns around the vectors (8, 16, 32), all captions equal, more than one panel of
// columns (128) and block of rows (64) with a rest; on CUDA more features than a tile is wide
AddCases cases({contrastive_case(1, 3, 9), contrastive_case(2, 1, 9), contrastive_case(7, 16, 4), contrastive_case(9, 33, 1),
                contrastive_case(16, 31, 1000), contrastive_case(33, 8, 1000, -1), contrastive_case(130, 17, 100, 0.5),
                contrastive_case(193, 40, 1000, 0), contrastive_case(3, 150, 9), sigmoid_case(1, 3, 9, 1, -1), sigmoid_case(9, 33, 3, 0, 0.5),
                sigmoid_case(16, 8, 1000, 1, -10), sigmoid_case(130, 17, 100, 0.5, -2), sigmoid_case(193, 40, 1000, 0, 1),
                sigmoid_case(3, 260, 9, 0, 1)});

}  // namespace
}  // namespace pumice::testing
