#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Every class a yes-or-no question of its own (as V-MoE trains: Riquelme et al. 2021, arXiv:2106.05974), the mean over the rows.
//   logits (N, V)   labels i32 (N)   ->   () f32 (f64 for f64 logits)
//   loss_n = sum_v( softplus(x_nv) - [v = label_n] x_nv )
// Throws ShapeError (also for no rows), DTypeError, UsageError for a label outside [0, V).
Tensor sigmoid_cross_entropy(const Tensor& logits, const Tensor& labels);

}  // namespace pumice
