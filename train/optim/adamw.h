// AdamW with decoupled weight decay (Loshchilov, Hutter 2019, arXiv:1711.05101) over the flat parameter arena.
#pragma once
#include "pumice/nn/parameter.h"

namespace pumice {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0.1;  // of parameters that decay; multiplied by the learning rate
};

class AdamW {
 public:
  AdamW(ParameterStore& parameters, const AdamWOptions& options);

  // One update with the arena's gradients times `gradient_scale` (clipping folded in):
  //   m = b1 m + (1 - b1) g     v = b2 v + (1 - b2) g^2     p -= lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + wd p)
  void step(double learning_rate, double gradient_scale);

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  const Tensor& first_moment() const { return m_; }   // f32 (size()), laid out as the arena
  const Tensor& second_moment() const { return v_; }

 private:
  ParameterStore& parameters_;
  AdamWOptions options_;
  Tensor m_, v_;
  int64_t steps_ = 0;
};

// Euclidean norm of all gradients in the arena, summed in f64 in fixed blocks.
double gradient_norm(const ParameterStore& parameters);

}  // namespace pumice
