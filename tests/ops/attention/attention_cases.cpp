
#include <algorithm>
#include <cmath>

#include "pumice/ops/attention/attention.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

std::vector<double> reference(const double* q, const double* k, const double* v, int64_t step, const std::vector<double>& q_offsets,
                              const std::vector<double>& k_offsets, int64_t H, int64_t D, bool causal, int64_t group = 1, int64_t window = 0) {
  const int64_t T = int64_t(q_offsets.back()), key_step = step / group;
  std::vector<double> out(size_t(T * H * D));
  for (size_t n = 0; n + 1 < q_offsets.size(); ++n) {
    const int64_t begin = int64_t(k_offsets[n]), end = int64_t(k_offsets[n + 1]);
    for (int64_t h = 0; h < H; ++h) {
      for (int64_t i = int64_t(q_offsets[n]); i < int64_t(q_offsets[n + 1]); ++i) {
        const int64_t last = causal ? end - int64_t(q_offsets[n + 1]) + i + 1 : end;  // the last query sees the last key
        const int64_t first = window ? std::max(begin, last - window) : begin;
        std::vector<double> p;
        double sum = 0;
        for (int64_t j = first; j < last; ++j) {
          double s = 0;
          for (int64_t d = 0; d < D; ++d) { s += q[i * step + h * D + d] * k[j * key_step + h / group * D + d]; }
          p.push_back(std::exp(s / std::sqrt(double(D))));
          sum += p.back();
        }
        for (int64_t j = first; j < last; ++j) {
          for (int64_t d = 0; d < D; ++d) { out[(i * H + h) * D + d] += p[j - first] / sum * v[j * key_step + h / group * D + d]; }
        }
      }
    }
  }
  return out;
}

// With the longest sequence stated, so that cuDNN may compute what it can where it is chosen: offsets lie on the device, where the host sees none.
AttentionOptions options_of(bool causal, const std::vector<double>& q_offsets, const std::vector<double>& k_offsets) {
  AttentionOptions options{.causal = causal};
  for (const auto* offsets : {&q_offsets, &k_offsets}) {
    for (size_t n = 0; n + 1 < offsets->size(); ++n) { options.longest = std::max(options.longest, int64_t((*offsets)[n + 1] - (*offsets)[n])); }
  }
  return options;
}

OpCase attention_case(std::vector<double> offsets, int64_t H, int64_t D, bool causal) {
  const AttentionOptions options = options_of(causal, offsets, offsets);
  const int64_t T = int64_t(offsets.back()), N = int64_t(offsets.size());
  Input o{.shape = {N}, .dtype = DType::i32, .differentiable = false, .values = offsets};
  return {.name = "attention sequences=" + std::to_string(N - 1) + " T=" + std::to_string(T) + " H=" + std::to_string(H) + " D=" + std::to_string(D) +
                  (causal ? " causal" : ""),
          .inputs = {{.shape = {T, H, D}}, {.shape = {T, H, D}}, {.shape = {T, H, D}}, o},
          .run = [options](const std::vector<Tensor>& t) { return std::vector{attention(t[0], t[1], t[2], packed(t[3]), options)}; },
          .reference = [=](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
            return {reference(t[0].data<double>(), t[1].data<double>(), t[2].data<double>(), H * D, offsets, offsets, H, D, causal)};
          },
          .bytes = 16.0 * double(T * H * D), .flops = 4.0 * double(T * T * H * D) / double(N - 1)};
}

OpCase qkv_case(std::vector<double> offsets, int64_t H, int64_t D, bool causal) {
  OpCase c = attention_case(offsets, H, D, causal);
  const int64_t T = int64_t(offsets.back());
  c.name.replace(0, 9, "attention_qkv");
  c.inputs = {{.shape = {T, 3, H, D}}, c.inputs[3]};
  const AttentionOptions options = options_of(causal, offsets, offsets);
  c.run = [options](const std::vector<Tensor>& t) { return std::vector{attention_qkv(t[0], packed(t[1]), options)}; };
  c.reference = [=](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
    const double* x = t[0].data<double>();
    return {reference(x, x + H * D, x + 2 * H * D, 3 * H * D, offsets, offsets, H, D, causal)};
  };
  return c;
}

OpCase cross_case(std::vector<double> q_offsets, std::vector<double> k_offsets, int64_t H, int64_t D, bool causal) {
  OpCase c = attention_case(q_offsets, H, D, causal);
  const int64_t Tq = int64_t(q_offsets.back()), Tk = int64_t(k_offsets.back());
  c.name.replace(0, 9, "cross_attention keys=" + std::to_string(Tk));
  Input keys = c.inputs[3];
  keys.values = k_offsets;
  c.inputs = {{.shape = {Tq, H, D}}, {.shape = {Tk, H, D}}, {.shape = {Tk, H, D}}, c.inputs[3], keys};
  const AttentionOptions options = options_of(causal, q_offsets, k_offsets);
  c.run = [options](const std::vector<Tensor>& t) {
    return std::vector{cross_attention(t[0], t[1], t[2], packed(t[3]), packed(t[4]), options)};
  };
  c.reference = [=](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
    return {reference(t[0].data<double>(), t[1].data<double>(), t[2].data<double>(), H * D, q_offsets, k_offsets, H, D, causal)};
  };
  return c;
}

// Heads of queries in groups that share keys, and a window; as many keys as queries, or some before them.
OpCase grouped_case(std::vector<double> q_offsets, std::vector<double> k_offsets, int64_t H, int64_t group, int64_t D, int64_t window = 0) {
  OpCase c = cross_case(q_offsets, k_offsets, H, D, true);
  const int64_t Tk = int64_t(k_offsets.back());
  c.name = concat_text("grouped_", c.name, " group=", group, " window=", window);
  c.inputs[1].shape = c.inputs[2].shape = {Tk, H / group, D};
  c.run = [=](const std::vector<Tensor>& t) {
    return std::vector{cross_attention(t[0], t[1], t[2], packed(t[3]), packed(t[4]), {.causal = true, .window = window})};
  };
  c.reference = [=](const std::vector<Tensor>& t) -> std::vector<std::vector<double>> {
    return {reference(t[0].data<double>(), t[1].data<double>(), t[2].data<double>(), H * D, q_offsets, k_offsets, H, D, true, group, window)};
  };
  return c;
}

// one token, empty sequences, lengths around a vector, D below and above one, and more queries than one block holds
AddCases cases({attention_case({0, 1}, 1, 1, false), attention_case({0, 3, 3, 7}, 2, 5, false), attention_case({0, 3, 8}, 2, 5, true),
                attention_case({0, 15, 31, 48}, 1, 16, false), attention_case({0, 33, 40}, 2, 17, true), attention_case({0, 131}, 1, 8, false),
                attention_case({0, 131}, 1, 8, true), qkv_case({0, 5, 5, 21}, 2, 8, false), qkv_case({0, 130}, 2, 4, true),
                cross_case({0, 1, 2, 3}, {0, 5, 6, 39}, 2, 8, false), cross_case({0, 0, 140}, {0, 3, 12}, 1, 5, false),
                cross_case({0, 2, 5}, {0, 6, 9}, 2, 4, true)});

// groups with few and with many queries; windows shorter than a sequence, than a vector and than a block, of one key, and longer than all
AddCases grouped({grouped_case({0, 3, 8}, {0, 3, 8}, 4, 2, 5), grouped_case({0, 1, 2}, {0, 9, 40}, 6, 3, 8), grouped_case({0, 20, 150}, {0, 20, 150}, 2, 2, 4),
                  grouped_case({0, 9, 30}, {0, 9, 30}, 2, 1, 4, 5), grouped_case({0, 150}, {0, 150}, 2, 2, 3, 37), grouped_case({0, 6}, {0, 6}, 1, 1, 3, 1),
                  grouped_case({0, 2, 9}, {0, 12, 40}, 4, 2, 6, 7), grouped_case({0, 5}, {0, 5}, 2, 2, 4, 100),
                  grouped_case({0, 33}, {0, 38}, 2, 2, 64, 17)});

// the same in the forms of a card: long ones, with keys that no query sees, with tiles of wide heads of which some rows see nothing; a short one with a
// sequence that does not fit; heads too wide for tensor cores
AddCases grouped_forms({grouped_case({0, 290}, {0, 300}, 2, 2, 4, 37), grouped_case({0, 310}, {0, 310}, 4, 2, 3),
                        grouped_case({0, 3}, {0, 300}, 2, 2, 4, 5), grouped_case({0, 212}, {0, 216}, 2, 2, 100, 20),
                        grouped_case({0, 1, 2, 280}, {0, 1, 2, 290}, 2, 2, 4), grouped_case({0, 1, 2, 280}, {0, 1, 2, 280}, 1, 1, 4, 33),
                        grouped_case({0, 20}, {0, 25}, 2, 2, 136, 9)});

// averages beyond and below the short form of a card, the latter with a sequence that is not short
AddCases long_cases({attention_case({0, 290}, 1, 6, true), attention_case({0, 1, 2, 280}, 1, 4, false), attention_case({0, 1, 2, 280}, 1, 4, true)});

// each width of head that a card's kernels are compiled for and one beyond, with more queries and keys than a tile holds
AddCases wide({attention_case({0, 70, 75}, 2, 64, false), attention_case({0, 66}, 1, 80, true), attention_case({0, 70}, 1, 96, false),
               attention_case({0, 3, 69}, 1, 128, true), attention_case({0, 9}, 2, 136, true), qkv_case({0, 50, 127}, 2, 64, false),
               cross_case({0, 5, 71}, {0, 66, 136}, 1, 40, true)});

}  // namespace
}  // namespace pumice::testing
