// Scalar functions of losses in f32, for CUDA kernels.
#pragma once
#include "pumice/tensor/simt/simt.h"

namespace pumice::simt {

__device__ __forceinline__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }
// log(1 + exp(x)), exact in its tails.
__device__ __forceinline__ float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

}  // namespace pumice::simt
