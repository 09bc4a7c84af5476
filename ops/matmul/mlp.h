#pragma once
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

// The MLP of a transformer block in one op: y = gelu(x up^T + up_bias) down^T + down_bias.
//   x (..., in)   up (F, in)   down (out, F), dtype of x   biases (F), (out), f32 (f64 beside f64), or undefined   ->   y (..., out), dtype of x
// The bits are those of linear, gelu and linear; gelu's passes over memory, and one of its two exponentials, are saved: the products apply it
// to what they have just finished. Saves x and h = x up^T + up_bias, whose place dh takes in the backward pass.
// residual (..., out), dtype of x: added to y, as in linear.
// Throws ShapeError, DTypeError, DeviceError.
Tensor mlp(const Tensor& x, const Tensor& up, const Tensor& up_bias, const Tensor& down, const Tensor& down_bias, Gelu form = Gelu::tanh,
           const Tensor& residual = {});

// The same with the gated unit of most language models: y = (silu(x gate^T) x up^T) down^T.
//   x (..., in)   gate, up (F, in)   down (out, F)   residual as above   ->   y (..., out)
// The bits are those of linear, linear, swiglu and linear. Saves x and both products, whose places their gradients take. Throws as above.
Tensor swiglu_mlp(const Tensor& x, const Tensor& gate, const Tensor& up, const Tensor& down, const Tensor& residual = {});

}  // namespace pumice
