#include "pumice/train/optim/adafactor.h"

#include <algorithm>
#include <cmath>

#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"
#include "pumice/train/optim/optimizer_kernels.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(adafactor_step, AdafactorStep);

namespace {

struct Matrices { int64_t count, rows, cols; };
Matrices matrices_of(const Parameter& p) {
  const Shape& s = p.shape();
  const int64_t rows = s[s.rank() - 2], cols = s[s.rank() - 1];
  return {p.size() / (rows * cols), rows, cols};
}

}  // namespace

bool Adafactor::factored(const Parameter& p) const {
  const Shape& s = p.shape();
  return p.decay() && s.rank() >= 2 && std::min(s[s.rank() - 1], s[s.rank() - 2]) >= std::max<int64_t>(1, options_.min_dim_to_factor);
}

Adafactor::Adafactor(ParameterStore& parameters, const AdafactorOptions& options, std::vector<ParameterPlan> plan)
    : Optimizer(parameters, std::move(plan)), options_(options) {
  REQUIRE(UsageError, options.beta1 >= 0 && options.beta1 < 1, "[adafactor] beta1 must be in [0, 1), got ", options.beta1);
  REQUIRE(DTypeError, options.momentum == DType::f32 || options.momentum == DType::bf16, "[adafactor] the momentum is kept in f32 or bf16, got ",
          name(options.momentum));
  MemoryTag tag("optimizer state");
  int64_t moments = 0, partial = 0;
  for (const auto& p : parameters.all()) {
    if (!factored(*p)) { moments += p->size(); }
    else {
      const Matrices x = matrices_of(*p);
      moments += x.count * (x.rows + x.cols);
      partial = std::max(partial, x.count * ((x.rows + kAdafactorRows - 1) / kAdafactorRows) * x.cols);
    }
  }
  if (options.beta1 > 0) { m_ = zeros({parameters.arena_size()}, options.momentum, parameters.device()); }
  v_ = zeros({moments}, DType::f32, parameters.device());
  partial_ = empty({partial}, DType::f64, parameters.device());
}

std::vector<std::pair<std::string, Tensor>> Adafactor::state() const {
  std::vector<std::pair<std::string, Tensor>> state = {{"second_moment", v_}};
  if (m_.defined()) { state.push_back({"momentum", m_}); }
  return state;
}

std::array<float, 2> Adafactor::numbers_of(int64_t step) const {
  return {float(std::min(options_.max_beta2, 1 - std::pow(double(step), -options_.decay_rate))), 0};
}

void Adafactor::step(const StepScale& scale) {
  AdafactorStep a{};
  a.beta2 = numbers_of(steps_ + 1)[0];
  a.gradient_scale = float(scale.gradient_scale);
  launch(a, scale.learning_rate, scale.schedule);
}

void Adafactor::step_on_device(const StepOnDevice& step) {
  AdafactorStep a{};
  a.on_device = step;
  launch(a, 1, 1);
}

void Adafactor::launch(AdafactorStep a, double learning_rate, double of_schedule) {
  ++steps_;
  a.beta1 = float(options_.beta1);
  a.decay_times_rate = options_.decay_times_peak;
  float* moments = v_.data<float>();
  a.partial = partial_.data<double>();
  for (size_t i = 0; i < plan_.size(); ++i) {
    const Parameter& p = *parameters_.all()[i];
    const bool matrices = factored(p);
    const Matrices x = matrices ? matrices_of(p) : Matrices{1, 1, p.size()};
    const double lr = learning_rate * plan_[i].lr, schedule = of_schedule * plan_[i].lr;
    a.lr = float(lr);
    a.decay = plan_[i].decay ? float(options_.weight_decay * (options_.decay_times_peak ? lr : schedule)) : 0;
    a.count = x.count;
    a.rows = x.rows;
    a.cols = x.cols;
    const int64_t at = p.arena_offset();
    a.p = parameters_.masters().data<float>() + at;
    a.g = parameters_.gradients().data<float>() + at;
    if (m_.defined()) { a.m = m_.slice(0, at, at + p.size()); }
    a.v = matrices ? nullptr : moments;
    a.row = moments;
    a.col = moments + x.rows;
    if (!plan_[i].frozen) { adafactor_step(parameters_.masters().device(), a); }
    moments += matrices ? x.count * (x.rows + x.cols) : p.size();
  }
  parameters_.changed();
}

}  // namespace pumice
