#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Softmax cross-entropy, the mean over the rows that are not ignored.
//   logits (N, V)   labels i32 (N)   ->   () f32 (f64 for f64 logits)
//   loss_n = lse(x_n) - (1 - s) * x_n[label] - s * mean_V(x_n)      s = label_smoothing (Szegedy et al. 2016, arXiv:1512.00567)
// A row whose label is `ignore` counts for nothing and has a zero gradient. Saves one number per row, never probabilities.
// Throws ShapeError (also when every label is ignored), DTypeError, UsageError for a label outside [0, V).
Tensor cross_entropy(const Tensor& logits, const Tensor& labels, int ignore = -100, double label_smoothing = 0);

}  // namespace pumice
