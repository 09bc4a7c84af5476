#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// x converted to another float dtype; x itself if it has it. dx = dy converted back. Throws DTypeError.
Tensor cast(const Tensor& x, DType dtype);

}  // namespace pumice
