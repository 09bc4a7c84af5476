// Arguments of the optimizers' kernels: flat f32 arrays laid out as the parameter arena.
#pragma once
#include "pumice/tensor/kernel.h"

namespace pumice {

// The numbers of a step where the step is replayed (docs/cuda.md): in device memory, so that kernels find those of their own step. The host writes ...
struct StepNumbers {
  double learning_rate, schedule;  // as in StepScale
  float of_optimizer[2];           // Optimizer::numbers_of()
  uint32_t step;                   // for random numbers
  uint32_t unused;
};
// ... and the device finds. Once the loss or the norm is not finite, `halted` stays: neither weights nor their state change any more.
struct StepState {
  double gradient_norm;
  float gradient_scale;
  int32_t halted;
};
struct StepOnDevice {  // null: the numbers of a launch are in its arguments
  const StepNumbers* numbers = nullptr;
  const StepState* state = nullptr;
};

struct AdamWStep {
  View p, m, v;  // updated
  View g;
  int64_t begin, end;  // the range of the arena that shares these settings
  float lr, beta1, beta2, eps, decay, correction1, correction2, gradient_scale;  // correction: 1 / (1 - beta^t)
  StepOnDevice on_device;  // then lr is a factor on its learning rate, and the last three are not used
};
// p -= lr u' + decay p, with u' the average of u = g / sqrt(second moment); the moment is v, or of a (rows, cols) matrix the outer product
// of its row and column means. `count` matrices stand one behind the other: p, g and m, and the moments as row, col, row, col ...
struct AdafactorStep {
  float* p;                 // updated
  View m;                   // updated, f32 or bf16; its data is null without momentum
  const float* g;
  float *v, *row, *col;     // updated: v (size) of what is not factored; row (rows) and col (cols) of what is, v null
  double* partial;          // scratch (count, blocks, cols), blocks of kAdafactorRows rows
  int64_t count, rows, cols;  // 1, (1, size) when not factored
  float lr, beta1, beta2, decay, gradient_scale;
  StepOnDevice on_device;  // then beta2 and gradient_scale are not used, lr is a factor and so is decay,
  bool decay_times_rate;   // on the learning rate, or on the schedule
};
inline constexpr int64_t kAdafactorRows = 64;
struct AverageStep {
  View average, x;  // average = decay * average + (1 - decay) * x
  int64_t n;
  float decay;
  const StepState* state;  // null, or on the device: nothing happens when it has halted
};
struct SumSquares {
  View partial;  // f64 (blocks)
  View x;        // f32 (n)
  int64_t n, block;
};

// The norm of the gradients from `partial` (blocks) f64, what they are scaled by, and whether the step halts: `losses` (n) f64 are to be finite.
struct ClipOnDevice {
  View partial, losses;
  StepState* state;  // updated
  double clip;       // 0: off
};

PUMICE_DECLARE_KERNEL(adamw_step, AdamWStep);
PUMICE_DECLARE_KERNEL(adafactor_step, AdafactorStep);
PUMICE_DECLARE_KERNEL(average_step, AverageStep);
PUMICE_DECLARE_KERNEL(sum_squares, SumSquares);
PUMICE_DECLARE_KERNEL(clip_on_device_kernel, ClipOnDevice);

}  // namespace pumice
