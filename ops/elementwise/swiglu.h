#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// The gated unit of most language models (Shazeer 2020, arXiv:2002.05202, without the products around it).
//   gate, up (any shape, alike)   ->   the same shape and dtype
//   y = gate sigmoid(gate) up
// Saves gate and up. Throws ShapeError, DTypeError, DeviceError.
Tensor swiglu(const Tensor& gate, const Tensor& up);

}  // namespace pumice
