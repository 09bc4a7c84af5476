#pragma once
#include "pumice/tensor/kernel.h"
#include "pumice/tensor/philox.h"

namespace pumice {

struct DropoutArgs {
  View y, x;  // packed
  RandomKey key;
  double p;
};
PUMICE_DECLARE_KERNEL(dropout_kernel, DropoutArgs);

}  // namespace pumice
