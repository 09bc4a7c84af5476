// Checks that most ops make of their operands.
#pragma once
#include "pumice/tensor/error.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

// Throws DTypeError unless t is f32, bf16 or f64.
void require_float(const char* op, const char* operand, const Tensor& t);
// Throws DTypeError unless t holds `wanted`.
void require_dtype(const char* op, const char* operand, const Tensor& t, DType wanted);
// Parameters of norms and biases are f32 beside activations of any float type (f64 beside f64).
void require_parameter_dtype(const char* op, const char* operand, const Tensor& t, DType activation);
// Throws DeviceError unless both live on one device.
void require_same_device(const char* op, const Tensor& a, const Tensor& b);

}  // namespace pumice
