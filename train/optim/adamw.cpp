#include "pumice/train/optim/adamw.h"

#include <cmath>

#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"
#include "pumice/train/optim/adamw_kernels.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(adamw_step, AdamWStep);
PUMICE_DEFINE_KERNEL(sum_squares, SumSquares);

AdamW::AdamW(ParameterStore& parameters, const AdamWOptions& options) : parameters_(parameters), options_(options) {
  REQUIRE(DTypeError, parameters.masters().dtype() == DType::f32, "[adamw] f32 masters are required, got ",
          name(parameters.masters().dtype()));
  MemoryTag tag("optimizer state");
  m_ = zeros({parameters.size()});
  v_ = zeros({parameters.size()});
}

void AdamW::step(double learning_rate, double gradient_scale) {
  ++steps_;
  AdamWStep a{parameters_.masters(), m_, v_, parameters_.gradients(), 0, 0};
  a.lr = float(learning_rate);
  a.beta1 = float(options_.beta1);
  a.beta2 = float(options_.beta2);
  a.eps = float(options_.eps);
  a.correction1 = float(1 / (1 - std::pow(options_.beta1, double(steps_))));
  a.correction2 = float(1 / (1 - std::pow(options_.beta2, double(steps_))));
  a.gradient_scale = float(gradient_scale);
  // Neighbours in the arena that agree about weight decay are updated as one range.
  const auto& all = parameters_.all();
  for (size_t i = 0; i < all.size();) {
    size_t last = i;
    while (last + 1 < all.size() && all[last + 1]->decay() == all[i]->decay()) { ++last; }
    a.begin = all[i]->arena_offset();
    a.end = all[last]->arena_offset() + all[last]->size();
    a.decay = all[i]->decay() ? float(options_.weight_decay) : 0;
    adamw_step(parameters_.masters().device(), a);
    i = last + 1;
  }
  parameters_.changed();
}

double gradient_norm(const ParameterStore& parameters) {
  const int64_t n = parameters.gradients().size(), block = 65536, blocks = (n + block - 1) / block;
  Tensor partial = empty({blocks}, DType::f64);
  sum_squares(partial.device(), {partial, parameters.gradients(), n, block});
  double total = 0;
  for (double s : partial.to_vector<double>()) { total += s; }
  return std::sqrt(total);
}

}  // namespace pumice
