#include "pumice/train/optim/adamw.h"

#include <cmath>

#include "pumice/tensor/memory.h"
#include "pumice/train/optim/optimizer_kernels.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(adamw_step, AdamWStep);

AdamW::AdamW(ParameterStore& parameters, const AdamWOptions& options, std::vector<ParameterPlan> plan)
    : Optimizer(parameters, std::move(plan)), options_(options) {
  MemoryTag tag("optimizer state");
  m_ = zeros({parameters.arena_size()}, DType::f32, parameters.device());
  v_ = zeros({parameters.arena_size()}, DType::f32, parameters.device());
}

std::array<float, 2> AdamW::numbers_of(int64_t step) const {
  return {float(1 / (1 - std::pow(options_.beta1, double(step)))), float(1 / (1 - std::pow(options_.beta2, double(step))))};
}

void AdamW::step(const StepScale& scale) {
  AdamWStep a{};
  const auto [correction1, correction2] = numbers_of(steps_ + 1);
  a.correction1 = correction1;
  a.correction2 = correction2;
  a.gradient_scale = float(scale.gradient_scale);
  launch(a, scale.learning_rate);
}

void AdamW::step_on_device(const StepOnDevice& step) {
  AdamWStep a{};
  a.on_device = step;
  launch(a, 1);
}

void AdamW::launch(AdamWStep a, double learning_rate) {
  ++steps_;
  a.p = parameters_.masters();
  a.m = m_;
  a.v = v_;
  a.g = parameters_.gradients();
  a.beta1 = float(options_.beta1);
  a.beta2 = float(options_.beta2);
  a.eps = float(options_.eps);
  // Neighbours in the arena whose plans agree are updated as one range.
  const auto& all = parameters_.all();
  auto alike = [&](size_t i, size_t k) {
    return plan_[i].lr == plan_[k].lr && plan_[i].decay == plan_[k].decay && plan_[i].frozen == plan_[k].frozen;
  };
  for (size_t i = 0; i < all.size();) {
    size_t last = i;
    while (last + 1 < all.size() && alike(i, last + 1)) { ++last; }
    a.begin = all[i]->arena_offset();
    a.end = all[last]->arena_offset() + all[last]->size();
    a.lr = float(learning_rate * plan_[i].lr);
    a.decay = plan_[i].decay ? float(options_.weight_decay) : 0;
    if (!plan_[i].frozen) { adamw_step(parameters_.masters().device(), a); }
    i = last + 1;
  }
  parameters_.changed();
}

}  // namespace pumice
