// Moving tokens to their experts and back by index lists (V-MoE's "indices" dispatcher). dispatch_einsum.h is the same as dense
// one-hot products: slower, and the definition.
#pragma once
#include "pumice/moe/routing.h"

namespace pumice {

// x (T, C) -> (R, C): the rows that exist, sorted by expert.
Tensor dispatch(const Tensor& x, const Routing& routing);

// y (R, C) -> (T, C): sum over k of gate[t, k] y[row[t, k]], in f32 (f64) and in the order of k; a dropped choice adds nothing.
// Gradients go to y and to the gates.
Tensor combine(const Tensor& y, const Routing& routing);

}  // namespace pumice
