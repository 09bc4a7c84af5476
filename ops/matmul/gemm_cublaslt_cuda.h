// Dense products by NVIDIA's cuBLASLt, where it is loaded (tensor/cuda_libraries.h).
#pragma once
#include "pumice/ops/matmul/gemm.h"

namespace pumice::cuda {

// Does what gemm_batch does, or returns false with nothing done: no library, a layout that it cannot describe, or nothing of its own for it.
// A bias of a bf16 result is rounded to bf16 first. Throws DeviceError if the library fails.
bool multiply_by_cublaslt(const GemmArgs& g);

}  // namespace pumice::cuda
