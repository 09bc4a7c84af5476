// Learning-rate schedules: a function of the step alone, so that a resumed run continues on the same curve.
#pragma once
#include <cstdint>
#include <string>

namespace pumice {

struct Schedule {
  enum Kind { kConstant, kLinear, kCosine, kRsqrt } kind = kCosine;
  double peak = 1e-3;
  double end_fraction = 0;     // cosine and linear: the rate at the last step, as a fraction of the peak
  int64_t steps = 1000;        // in total
  int64_t warmup = 100;        // linear from 0
  int64_t cooldown = 0;        // rsqrt: linear to 0 over the last steps
  int64_t timescale = 10000;   // rsqrt: peak / sqrt(1 + (step - warmup) / timescale)
  bool hold = false;           // rsqrt: the root keeps its value of the cool-down's first step (V-MoE) instead of falling on (big_vision)
};

// The rate of step `step`, counted from 0. Never 0 in the first step of a warm-up: step s uses (s + 1) / warmup.
double learning_rate(const Schedule& schedule, int64_t step);
// constant, linear, cosine, rsqrt. Throws UsageError listing the names.
Schedule::Kind schedule_kind(const std::string& name);
const char* name(Schedule::Kind kind);

}  // namespace pumice
