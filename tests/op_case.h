// OpCase: one declaration from which an op is tested against an f64 reference, gradient-checked, compared over element types,
// instruction sets, strides and thread counts, checked for leaks, and timed. Free of GoogleTest: run_ops.cpp is the program.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice::testing {

struct Input {
  Shape shape;
  double low = -1, high = 1;          // floats: uniform in [low, high)
  DType dtype = DType::f64;           // f64 stands for "the float type under test"; integer types and f32/f64 parameters below stay
  bool parameter = false;             // f32 beside bf16 activations (norm weights, biases of norms)
  bool differentiable = true;         // floats only
  std::vector<double> values;         // explicit values instead of random ones (discrete cases with exact ties)

  static Input integers(Shape shape, int64_t low, int64_t high, DType dtype = DType::i32) {
    return {.shape = shape, .low = double(low), .high = double(high), .dtype = dtype, .differentiable = false};
  }
};

// Allowed |got - want| <= atol + rtol * |want|, per element type of the run. One table; a case may widen it and must say why.
struct Tolerance {
  double atol, rtol;
};
Tolerance tolerance_of(DType dtype);  // f64 1e-11/1e-10, f32 1e-5/1e-5, bf16 1e-2/1.6e-2

struct OpCase {
  std::string name;                     // "layer_norm rows=3 C=5": the op's name, then what is special
  std::vector<Input> inputs;
  std::function<std::vector<Tensor>(const std::vector<Tensor>&)> run;
  // Slow and obvious, in double, in the notation of the formula. Inputs arrive packed: floats as f64, integers as they are.
  std::function<std::vector<std::vector<double>>(const std::vector<Tensor>&)> reference;

  double bytes = 0, flops = 0;          // of the forward pass at f32, for `perf`
  bool gradient = true;                 // false only for ops without a gradient by nature
  bool exact = false;                   // discrete results: equality in every element type
  bool strided_inputs = true;           // false when the op states that it needs packed inputs
  bool bf16 = true;                     // false when the op is f32-only by contract (router, losses)
  double widen = 1;                     // multiplies the tolerance
  double gradcheck_tolerance = 1e-6;
  std::string why_widened = {};
};

std::vector<OpCase>& op_cases();
struct AddCases {
  AddCases(std::initializer_list<OpCase> cases) { op_cases().insert(op_cases().end(), cases); }
  explicit AddCases(const std::vector<OpCase>& cases) { op_cases().insert(op_cases().end(), cases.begin(), cases.end()); }
};

}  // namespace pumice::testing
