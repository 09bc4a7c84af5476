// AdamW with decoupled weight decay (Loshchilov, Hutter 2019, arXiv:1711.05101) over the flat parameter arena.
#pragma once
#include "pumice/train/optim/optimizer.h"

namespace pumice {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0.1;  // of parameters that decay; multiplied by the learning rate
};

struct AdamWStep;

class AdamW : public Optimizer {
 public:
  AdamW(ParameterStore& parameters, const AdamWOptions& options, std::vector<ParameterPlan> plan = {});

  // With g the arena's gradients times gradient_scale:
  //   m = b1 m + (1 - b1) g     v = b2 v + (1 - b2) g^2     p -= lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + wd p)
  void step(const StepScale& scale) override;
  void step_on_device(const StepOnDevice& step) override;
  std::array<float, 2> numbers_of(int64_t step) const override;  // 1 / (1 - b^t)
  std::vector<std::pair<std::string, Tensor>> state() const override { return {{"first_moment", m_}, {"second_moment", v_}}; }

 private:
  void launch(AdamWStep step, double learning_rate);
  AdamWOptions options_;
  Tensor m_, v_;
};

}  // namespace pumice
