#include "pumice/train/optim/optimizer.h"

#include <cmath>

#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"
#include "pumice/train/optim/optimizer_kernels.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(sum_squares, SumSquares);
PUMICE_DEFINE_KERNEL(average_step, AverageStep);
PUMICE_DEFINE_KERNEL(clip_on_device_kernel, ClipOnDevice);

Optimizer::Optimizer(ParameterStore& parameters, std::vector<ParameterPlan> plan)
    : parameters_(parameters), plan_(plan.empty() ? plan_parameters(parameters, {}) : std::move(plan)) {
  REQUIRE(DTypeError, parameters.masters().dtype() == DType::f32, "[optimizer] f32 masters are required, got ", name(parameters.masters().dtype()));
  for (size_t i = 0; i < plan_.size(); ++i) {
    if (plan_[i].frozen) { parameters.all()[i]->freeze(); }
  }
}

namespace {

Tensor partial_squares(const ParameterStore& parameters) {
  const int64_t n = parameters.gradients().size(), block = 65536, blocks = (n + block - 1) / block;
  Tensor partial = empty({blocks}, DType::f64, parameters.device());
  sum_squares(partial.device(), {partial, parameters.gradients(), n, block});
  return partial;
}

}  // namespace

double gradient_norm(const ParameterStore& parameters) {
  double total = 0;
  for (double s : partial_squares(parameters).to_vector<double>()) { total += s; }
  return std::sqrt(total);
}

void clip_on_device(const ParameterStore& parameters, const Tensor& losses, double clip, StepState* state) {
  clip_on_device_kernel(parameters.device(), {partial_squares(parameters), losses, state, clip});
}

WeightAverage::WeightAverage(const ParameterStore& parameters, double decay) : parameters_(parameters), decay_(decay) {
  REQUIRE(UsageError, decay > 0 && decay < 1, "[ema] the decay must be in (0, 1), got ", decay);
  MemoryTag tag("weight average");
  values_ = zeros({parameters.arena_size()}, DType::f32, parameters.device());
  copy_into(values_, parameters.masters());
}

void WeightAverage::update(const StepState* state) {
  average_step(values_.device(), {values_, parameters_.masters(), values_.size(), float(decay_), state});
}

}  // namespace pumice
