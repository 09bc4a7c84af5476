#pragma once
#include <string>

#include "pumice/tensor/dtype.h"

namespace pumice::testing {

// Launches the kernel of that name. Device pointers: y (256 floats), x (128 floats), scan (256 ints), a (256 bf16), b (128 bf16).
void launch_fault(const std::string& name, float* y, const float* x, int* scan, const bf16* a, const bf16* b);

}  // namespace pumice::testing
