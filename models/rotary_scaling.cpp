#include "pumice/models/rotary_scaling.h"

#include <algorithm>
#include <cmath>

#include "pumice/ops/embedding/rotary.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr double kTurn = 6.283185307179586;  // 2 pi

double stretched_llama3(const RotaryScaling& s, double frequency) {
  const double turns = double(s.trained) * frequency / kTurn;  // within the trained length
  if (turns > s.high_factor) { return frequency; }
  if (turns < s.low_factor) { return frequency / s.factor; }
  const double share = (turns - s.low_factor) / (s.high_factor - s.low_factor);
  return (1 - share) * frequency / s.factor + share * frequency;
}

// The element of R that makes `turns` turns within the trained length.
double element_of(const RotaryScaling& s, double turns, int64_t R, double theta) {
  return double(R) * std::log(double(s.trained) / (turns * kTurn)) / (2 * std::log(theta));
}

// What share of `factor` pair i gets.
double yarn_share(const RotaryScaling& s, int64_t i, int64_t R, double theta) {
  double begin = element_of(s, s.beta_fast, R, theta), end = element_of(s, s.beta_slow, R, theta);
  if (s.truncate) {
    begin = std::floor(begin);
    end = std::ceil(end);
  }
  begin = std::max(begin, 0.0);
  end = std::min(end, double(R - 1));
  if (begin == end) { end += 0.001; }
  return std::clamp((double(i) - begin) / (end - begin), 0.0, 1.0);
}

}  // namespace

void RotaryScaling::validate() const {
  if (kind == Kind::none) { return; }
  REQUIRE(UsageError, factor >= 1 && factor <= 1e6, "[rotary] the factor of a scaling must be from 1 to 1e6, got ", factor);
  REQUIRE(UsageError, kind == Kind::linear || (trained > 0 && trained <= (int64_t(1) << 31)), "[rotary] a scaling needs the number of positions that the "
          "model was trained for, from 1 to 2^31, got ", trained);
  REQUIRE(UsageError, kind != Kind::llama3 || (low_factor > 0 && high_factor > low_factor && high_factor <= 1e6), "[rotary] llama3's low_freq_factor must "
          "be above 0 and its high_freq_factor above that, got ", low_factor, " and ", high_factor);
  REQUIRE(UsageError, kind != Kind::yarn || (beta_slow > 0 && beta_fast >= beta_slow && beta_fast <= 1e6), "[rotary] yarn's beta_slow must be above 0 and "
          "its beta_fast at least that, got ", beta_slow, " and ", beta_fast);
  REQUIRE(UsageError, kind != Kind::yarn || (attention >= 0 && attention <= 1e3), "[rotary] yarn's attention_factor must be above 0, got ", attention);
}

double RotaryScaling::scale() const {
  if (kind != Kind::yarn) { return 1; }
  return attention > 0 ? attention : 0.1 * std::log(factor) + 1;
}

std::vector<float> scaled_frequencies(int64_t R, double theta, const RotaryScaling& s, int64_t length) {
  using Kind = RotaryScaling::Kind;
  if (s.depends_on(length) && R > 2) {
    theta *= std::pow(s.factor * double(length) / double(s.trained) - (s.factor - 1), double(R) / double(R - 2));
  }
  std::vector<float> f = rotary_frequencies(R, theta);
  for (int64_t i = 0; i < R / 2; ++i) {
    const double own = std::pow(theta, -2 * double(i) / double(R));
    if (s.kind == Kind::linear) { f[size_t(i)] = float(own / s.factor); }
    if (s.kind == Kind::llama3) { f[size_t(i)] = float(stretched_llama3(s, own)); }
    if (s.kind == Kind::yarn) {
      const double share = yarn_share(s, i, R, theta);
      f[size_t(i)] = float(share * own / s.factor + (1 - share) * own);
    }
  }
  return f;
}

}  // namespace pumice
