// Moving tokens to their experts and back by index lists (V-MoE's "indices" dispatcher). dispatch_einsum.h is the same as one-hot
// products: the definition.
#pragma once
#include "pumice/moe/routing.h"

namespace pumice {

// Copies every kept token to the experts that it chose: y[row[t, k]] = x[t].
//   x (T, C)   ->   y (R, C), dtype of x, sorted by expert for grouped_linear        dx[t] = sum_k(dy[row[t, k]]), k in order
Tensor dispatch(const Tensor& x, const Routing& routing);

// Brings the experts' outputs back: out[t] = sum_k(gate[t, k] * y[row[t, k]]), k in order, summed in f32 (f64).
//   y (R, C)   ->   out (T, C), dtype of y        dgate[t, k] = dout[t] . y[row[t, k]]
// A dropped choice contributes exactly 0, and its gate gets no gradient. Throws ShapeError, DTypeError.
Tensor combine(const Tensor& y, const Routing& routing);

}  // namespace pumice
