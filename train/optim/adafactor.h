// Adafactor (Shazeer, Stern 2018, arXiv:1804.04235) in the variant that big_vision trains with (Zhai et al. 2022, arXiv:2106.04560): no
// update clipping, no relative steps, a momentum. The second moment of a matrix is kept as row and column means, which halves the
// optimizer's memory.
#pragma once
#include "pumice/train/optim/optimizer.h"

namespace pumice {

struct AdafactorOptions {
  double beta1 = 0.9;             // momentum; 0: none is kept
  DType momentum = DType::f32;    // how it is kept: f32, or bf16 as big_vision does; the update uses it before it is rounded
  double decay_rate = 0.8, max_beta2 = 0.999;
  int64_t min_dim_to_factor = 32; // both axes of a matrix must have as many rows
  double weight_decay = 1e-4;     // of parameters that decay
  bool decay_times_peak = false;  // multiply the decay by the learning rate, peak and all (AdamW, V-MoE), instead of by the schedule alone
};

struct AdafactorStep;

class Adafactor : public Optimizer {
 public:
  Adafactor(ParameterStore& parameters, const AdafactorOptions& options, std::vector<ParameterPlan> plan = {});

  // With g the arena's gradients times gradient_scale, t counted from 1, b2 = min(max_beta2, 1 - t^-decay_rate):
  //   matrices     r = b2 r + (1 - b2) mean_cols(g^2 + 1e-30)    c = b2 c + (1 - b2) mean_rows(...)    u = g / sqrt(r / mean(r)) / sqrt(c)
  //   the others   v = b2 v + (1 - b2) (g^2 + 1e-30)             u = g / sqrt(v)
  //   m = b1 m + (1 - b1) u     p -= lr m + schedule wd p        (lr wd p with decay_times_peak)
  // In bf16 m is rounded to nearest when it is stored.
  // Stacked parameters (experts) are factored matrix by matrix, never across experts; biases and norms are not.
  void step(const StepScale& scale) override;
  void step_on_device(const StepOnDevice& step) override;
  std::array<float, 2> numbers_of(int64_t step) const override;  // b2
  std::vector<std::pair<std::string, Tensor>> state() const override;

 private:
  bool factored(const Parameter& p) const;
  void launch(AdafactorStep step, double learning_rate, double schedule);

  AdafactorOptions options_;
  Tensor m_, v_;  // momentum, laid out as the arena; row and column means, or all of a second moment, one parameter after the other
  Tensor partial_;  // f64 scratch for the sums of the largest matrix
};

}  // namespace pumice
