// The forward pass of attention by NVIDIA's cuDNN, where PUMICE_CUDNN asks for it (tensor/cuda_libraries.h).
#pragma once
#include "pumice/ops/attention/attention_kernels.h"

namespace pumice::cuda {

// Does what attention_fwd does, or returns false with nothing done: no library, something that this operation of cuDNN's cannot say (f32, a mask, a longest
// sequence that nobody knows, rows that are not aligned to 16 bytes), or no kernel of cuDNN's for it. Offsets that do not fit end the launch with an error. The
// backward pass is always ours: it needs no more than the output and the log of the sums, and is the same on every run. Throws DeviceError if cuDNN fails.
bool attend_by_cudnn(const AttentionFwd& a);

// What cuDNN wants to know of N sequences, all on the device: where each begins in q, k, v, the output and lse, in elements (i32, N + 1), and how many queries
// and keys it has (i32, N).
enum Place { kPlaceQ, kPlaceK, kPlaceV, kPlaceOut, kPlaceLse, kPlaces };
struct SequenceLists {
  const int32_t *q_offsets, *k_offsets;
  int64_t sequences, queries, keys, longest;
  int64_t steps[kPlaces];  // elements from a token to the next
  int32_t* places[kPlaces];
  int32_t *query_counts, *key_counts;
};
void list_sequences(const SequenceLists& lists);

}  // namespace pumice::cuda
