// A ladder: one computation as a row of kernels, from the one that states the formula to the one that the engine ships. Each rung changes one thing, and
// its comment says why; docs/cuda.md shows what that does to memory traffic.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice::ladder {

struct Rung {
  const char* name;
  const char* change;           // what it does differently from the rung before, and why
  std::function<Tensor()> run;  // gives the result, (rows, columns) in any shape
};
struct Ladder {
  std::string name;  // the computation and its shape
  double bytes;      // of global memory that it must move at least: operands and result, once
  double flops;
  DType multiplies;  // bf16: the roof is that of tensor cores; f32: that of plain multiply-adds
  double bound;      // of the error: of the largest number of the reference
  int64_t rows, columns;
  Tensor out;        // where the rungs put their results, but for the engine's; filled with NaN before each
  std::function<std::vector<double>(int64_t row)> reference;  // a row of the result, in f64, from the values that the kernels are given
  std::vector<Rung> rungs;
};

// Small shapes are for the emulator, large ones for a card: they fill it, and what is bound by memory exceeds its caches.
Ladder matmul_f32(bool large);
Ladder matmul_bf16(bool large);
Ladder attention_bf16(bool large);
Ladder layer_norm_f32(bool large);
Ladder moe_f32(bool large);
Ladder order_f32(bool large);

// On the device, uniform in [-1, 1); another `site`, other numbers.
Tensor values(const Shape& shape, DType dtype, uint32_t site);

// measure.cpp
class Reference {  // all rows of a ladder's result, or 64 of them from the first to the last where there are more than 512
 public:
  explicit Reference(const Ladder& l);
  // The worst error of a result in these rows, over the largest number of the reference. A NaN in any row makes it NaN.
  double error_of(const Tensor& result) const;
  int64_t rows() const { return int64_t(row_.size()); }

 private:
  int64_t all_, columns_;
  std::vector<int64_t> row_;
  std::vector<double> want_;
  double largest_ = 0;
};
double seconds_of(const std::function<void()>& run);  // per call, the best of five rounds

// roofs_cuda.cu: what this device reaches when nothing else holds it up. `large` as above.
struct Roofs { double copy, multiply_f32, multiply_bf16; };  // bytes, FLOP per second
Roofs measure_roofs(bool large);

}  // namespace pumice::ladder
