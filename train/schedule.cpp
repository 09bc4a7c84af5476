#include "pumice/train/schedule.h"

#include <algorithm>
#include <cmath>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {

double learning_rate(const Schedule& s, int64_t step) {
  double rate = s.peak;
  const double t = double(step), total = double(s.steps), warmup = double(s.warmup);
  const double progress = std::clamp((t - warmup) / std::max(1.0, total - warmup), 0.0, 1.0);  // after the warm-up
  switch (s.kind) {
    case Schedule::kConstant: break;
    case Schedule::kLinear: rate *= s.end_fraction + (1 - s.end_fraction) * (1 - progress); break;
    case Schedule::kCosine: rate *= s.end_fraction + (1 - s.end_fraction) * 0.5 * (1 + std::cos(M_PI * progress)); break;
    case Schedule::kRsqrt:
      rate /= std::sqrt(1 + std::max(0.0, (s.hold ? std::min(t, total - double(s.cooldown)) : t) - warmup) / double(s.timescale));
      if (s.cooldown > 0) { rate *= std::clamp((total - t) / double(s.cooldown), 0.0, 1.0); }
      break;
  }
  if (step < s.warmup) { rate *= (t + 1) / warmup; }
  return rate;
}

Schedule::Kind schedule_kind(const std::string& text) {
  for (Schedule::Kind kind : {Schedule::kConstant, Schedule::kLinear, Schedule::kCosine, Schedule::kRsqrt}) {
    if (text == name(kind)) { return kind; }
  }
  throw UsageError(concat_text("[schedule] --lr-scheduler must be constant, linear, cosine or rsqrt, got '", text, "'.",
                               did_you_mean(text, {"constant", "linear", "cosine", "rsqrt"})), __FILE__, __LINE__);
}

const char* name(Schedule::Kind kind) {
  constexpr const char* kNames[] = {"constant", "linear", "cosine", "rsqrt"};
  return kNames[kind];
}

}  // namespace pumice
