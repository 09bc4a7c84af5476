#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// y[...] = table[ids[...]].   ids i32 (...)   table (V, C)   ->   (..., C), dtype of table
// The gradient adds into the rows that were used, in the order of ids. Throws ShapeError naming an id out of range.
Tensor embedding(const Tensor& ids, const Tensor& table);

}  // namespace pumice
