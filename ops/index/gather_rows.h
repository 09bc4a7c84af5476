#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// y[i] = x[rows[i]], or zeros where rows[i] is -1.   x (T, C)   rows i32 (R)   ->   (R, C)
// The gradient adds rows back in the order of i, so it is the same in every run. Throws ShapeError naming a row out of range.
// Here and wherever an op takes integers (rows, offsets, ids, labels), they may lie on the CPU beside an x on CUDA: they are checked there and copied.
Tensor gather_rows(const Tensor& x, const Tensor& rows);

// y[rows[i]] += x[i] for i in order; rows of -1 are skipped.   x (R, C)   rows i32 (R)   ->   (T, C), sums in f32 (f64)
Tensor scatter_add_rows(const Tensor& x, const Tensor& rows, int64_t T);

}  // namespace pumice
