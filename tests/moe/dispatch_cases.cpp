#include "pumice/moe/dispatch.h"
#include "pumice/tensor/error.h"
#include "../op_case.h"

namespace pumice::testing {
namespace {

// Only what dispatch and combine read.
Routing routing_of(const Tensor& row, const Tensor& gate) {
  Routing r;
  r.row = r.expert = row;
  r.gate = gate;
  std::vector<int32_t> rows = row.to_vector<int32_t>(), token(rows.size(), 0);
  size_t R = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] >= 0) { token[size_t(rows[i])] = int32_t(i / size_t(row.dim(1))); ++R; }
  }
  token.resize(R);
  r.token_of_row = to_device(from_values<int32_t>({int64_t(R)}, token), row.device());
  return r;
}

// Every third choice is dropped; the others stand in the matrix in an order that is not the tokens'.
std::vector<double> some_rows(int64_t choices) {
  std::vector<double> row(size_t(choices), -1);
  int64_t kept = 0;
  for (int64_t i = 0; i < choices; ++i) { kept += i % 3 != 2; }
  for (int64_t i = 0, r = 0; i < choices; ++i) {
    if (i % 3 != 2) { row[size_t(i)] = double(kept - 1 - r++); }
  }
  return row;
}
int64_t kept_of(const std::vector<double>& row) {
  int64_t kept = 0;
  for (double r : row) { kept += r >= 0; }
  return kept;
}

OpCase dispatch_case(int64_t T, int64_t K, int64_t C) {
  std::vector<double> row = some_rows(T * K);
  double n = double(kept_of(row) * C);
  return {.name = concat_text("dispatch T=", T, " K=", K, " C=", C),
          .inputs = {{.shape = {T, C}}, {.shape = {T, K}, .dtype = DType::i32, .differentiable = false, .values = row}},
          .run = [](const std::vector<Tensor>& in) { return std::vector{dispatch(in[0], routing_of(packed(in[1]), Tensor()))}; },
          .reference = [=](const std::vector<Tensor>& in) -> std::vector<std::vector<double>> {
            std::vector<double> y(size_t(kept_of(row) * C));
            for (int64_t i = 0; i < T * K; ++i) {
              for (int64_t c = 0; row[size_t(i)] >= 0 && c < C; ++c) {
                y[size_t(int64_t(row[size_t(i)]) * C + c)] = in[0].data<double>()[i / K * C + c];
              }
            }
            return {y};
          },
          .bytes = 8 * n, .flops = 0};
}

OpCase combine_case(int64_t T, int64_t K, int64_t C) {
  std::vector<double> row = some_rows(T * K);
  double n = double(kept_of(row) * C);
  return {.name = concat_text("combine T=", T, " K=", K, " C=", C),
          .inputs = {{.shape = {kept_of(row), C}}, {.shape = {T, K}, .low = 0, .high = 1, .parameter = true},
                     {.shape = {T, K}, .dtype = DType::i32, .differentiable = false, .values = row}},
          .run = [](const std::vector<Tensor>& in) { return std::vector{combine(in[0], routing_of(packed(in[2]), in[1]))}; },
          .reference = [=](const std::vector<Tensor>& in) -> std::vector<std::vector<double>> {
            std::vector<double> out(size_t(T * C));
            for (int64_t i = 0; i < T * K; ++i) {
              for (int64_t c = 0; row[size_t(i)] >= 0 && c < C; ++c) {
                out[size_t(i / K * C + c)] += in[1].data<double>()[i] * in[0].data<double>()[int64_t(row[size_t(i)]) * C + c];
              }
            }
            return {out};
          },
          .bytes = 4 * n + 4.0 * double(T * C), .flops = 2 * n};
}

// one row, all of a token's choices dropped (T = 3, K = 1), around the sixteen lanes, beyond one piece of columns (256), no tokens; on CUDA a
// block per row
AddCases cases({dispatch_case(1, 1, 1), dispatch_case(3, 1, 7), dispatch_case(9, 2, 31), dispatch_case(5, 4, 32), dispatch_case(0, 1, 3),
                dispatch_case(700, 2, 33), combine_case(1, 1, 1), combine_case(3, 1, 15), combine_case(9, 2, 16), combine_case(5, 4, 17),
                combine_case(0, 2, 3), combine_case(6, 2, 300), combine_case(700, 1, 33),
                combine_case(3, 2, 1048), combine_case(2, 2, 8200)});

}  // namespace
}  // namespace pumice::testing
