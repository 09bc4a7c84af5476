#include <cmath>

#include "pumice/ops/embedding/rotary.h"
#include "pumice/tensor/error.h"
#include "../../op_case.h"

namespace pumice::testing {
namespace {

// Positions 3, 10, 17, ...: not those of the rows.
OpCase rotary_case(int64_t T, int64_t H, int64_t D, int64_t R, double theta = 10000, double scale = 1) {
  std::vector<double> positions;
  for (int64_t t = 0; t < T; ++t) { positions.push_back(double(3 + 7 * t)); }
  return {.name = concat_text("rotary T=", T, " H=", H, " D=", D, " R=", R, " scale=", scale),
          .inputs = {{.shape = {T, H, D}}, {.shape = {T}, .dtype = DType::i32, .differentiable = false, .values = positions}},
          .run = [=](const std::vector<Tensor>& t) {
            return std::vector{rotary(t[0], t[1], from_values<float>({R / 2}, rotary_frequencies(R, theta)), scale)};
          },
          .reference = [=](const std::vector<Tensor>& in) -> std::vector<std::vector<double>> {
            std::vector<double> y = in[0].to_vector<double>();
            for (int64_t t = 0; t < T; ++t) {
              for (int64_t h = 0; h < H; ++h) {
                double* row = &y[(t * H + h) * D];
                for (int64_t i = 0; i < R / 2; ++i) {
                  const double a = positions[t] * double(float(std::pow(theta, -2.0 * double(i) / double(R)))), p = row[i], q = row[i + R / 2];
                  row[i] = scale * (p * std::cos(a) - q * std::sin(a));
                  row[i + R / 2] = scale * (q * std::cos(a) + p * std::sin(a));
                }
              }
            }
            return {y};
          },
          .bytes = 8.0 * double(T * H * D), .flops = 3.0 * double(T * H * R), .widen = 4,
          .why_widened = "an angle of 100 is known to 4e-6 in f32"};
}

AddCases cases({rotary_case(1, 1, 2, 2), rotary_case(3, 2, 6, 4), rotary_case(5, 1, 7, 0), rotary_case(2, 3, 17, 16), rotary_case(14, 2, 64, 64),
                rotary_case(9, 4, 80, 32, 1e6), rotary_case(4, 2, 24, 16, 10000, 1.25),
                rotary_case(3, 1, 271, 270), rotary_case(2, 2, 544, 528)});  // more angles than a block of a card has threads

}  // namespace
}  // namespace pumice::testing
