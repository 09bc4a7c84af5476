#pragma once
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

// One affine map per expert over the rows that belong to it: y[r] = x[r] w[e]^T + b[e] for offsets[e] <= r < offsets[e + 1].
//   x (R, in)   w (E, out, in), dtype of x   b (E, out) f32 (f64), or undefined   offsets i32 (E + 1)   ->   y (R, out)
// Experts without rows are allowed and get a zero gradient. Offsets on the CPU are checked before anything runs; on a CUDA device the host does
// not wait for them, and offsets that do not rise from 0 to R end the kernel with an error. Throws ShapeError, DTypeError, DeviceError.
Tensor grouped_linear(const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& offsets);

// One MLP per expert, as mlp() of ops/matmul/mlp.h: y[r] = gelu(x[r] up[e]^T + up_bias[e]) down[e]^T + down_bias[e].
//   x (R, in)   up (E, F, in)   up_bias (E, F)   down (E, out, F)   down_bias (E, out)   offsets i32 (E + 1)   ->   y (R, out)
// The bits are those of grouped_linear, gelu and grouped_linear. Throws as above.
Tensor grouped_mlp(const Tensor& x, const Tensor& up, const Tensor& up_bias, const Tensor& down, const Tensor& down_bias, const Tensor& offsets,
                   Gelu form = Gelu::tanh);

// The same as swiglu_mlp(): y[r] = (silu(x[r] gate[e]^T) x[r] up[e]^T) down[e]^T.   gate, up (E, F, in)   down (E, out, F)
Tensor grouped_swiglu_mlp(const Tensor& x, const Tensor& gate, const Tensor& up, const Tensor& down, const Tensor& offsets);

}  // namespace pumice
