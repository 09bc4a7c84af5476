// What optimizers have in common: one update of all parameters from the gradients in the arena, and a state that a checkpoint holds.
#pragma once
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pumice/nn/parameter.h"
#include "pumice/train/optim/groups.h"

namespace pumice {

struct StepOnDevice;
struct StepNumbers;
struct StepState;

struct StepScale {
  double learning_rate = 0;   // of this step
  double schedule = 1;        // the same as a fraction of the peak
  double gradient_scale = 1;  // clipping, folded in
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  virtual void step(const StepScale& scale) = 0;
  // The same on CUDA with numbers that lie on the device; only kernels are launched, so that it can be replayed. A replay counts as a step:
  // set_steps() says so.
  virtual void step_on_device(const StepOnDevice& step) = 0;
  virtual std::array<float, 2> numbers_of(int64_t step) const = 0;  // StepNumbers::of_optimizer of a step, counted from 1
  virtual std::vector<std::pair<std::string, Tensor>> state() const = 0;  // by name; a checkpoint writes them, and reads into them
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }

 protected:
  // An empty plan means the default one. Frozen parameters are marked in the store. Throws DTypeError unless masters are f32.
  Optimizer(ParameterStore& parameters, std::vector<ParameterPlan> plan);

  ParameterStore& parameters_;
  std::vector<ParameterPlan> plan_;  // one per parameter
  int64_t steps_ = 0;
};

// Euclidean norm of all gradients in the arena, summed in f64 in fixed blocks.
double gradient_norm(const ParameterStore& parameters);
// The same on CUDA, without waiting, and what follows from it; `losses` f64 (n) on the device are to be finite.
void clip_on_device(const ParameterStore& parameters, const Tensor& losses, double clip, StepState* state);

// The moving average of the weights, average = decay * average + (1 - decay) * weights after every step.
class WeightAverage {
 public:
  WeightAverage(const ParameterStore& parameters, double decay);
  void update(const StepState* state = nullptr);  // on the device, if given: unless it has halted
  const Tensor& values() const { return values_; }  // f32 (arena_size()), laid out as the arena

 private:
  const ParameterStore& parameters_;
  double decay_;
  Tensor values_;
};

}  // namespace pumice
