// The forward pass of attention by NVIDIA's cuDNN, where PUMICE_CUDNN asks for it (tensor/cuda_libraries.h).
#pragma once
#include "pumice/ops/attention/attention_kernels.h"

namespace pumice::cuda {

// Does what attention_fwd does, or returns false with nothing done: no library, something that this operation of cuDNN's cannot say (f32, a mask, a longest
// sequence that nobody knows, rows that are not aligned to 16 bytes), or no kernel of cuDNN's for it. Offsets that do not fit end the launch with an error. The
// backward pass is always ours: it needs no more than the output and the log of the sums, and is the same on every run. Throws DeviceError if cuDNN fails.
bool attend_by_cudnn(const AttentionFwd& a);

}  // namespace pumice::cuda
