// Places and lengths of sequences as cuDNN wants them, from offsets on the device.
#include "pumice/ops/attention/attention_cudnn_cuda.h"
#include "pumice/tensor/simt/segments.h"

namespace pumice::cuda {
namespace {

// A thread per sequence, and one for the end.
__global__ void __launch_bounds__(128) list_them(SequenceLists l) {
  const int64_t n = int64_t(blockIdx.x) * 128 + threadIdx.x;
  if (n > l.sequences) { return; }
  SIMT_UNROLL
  for (int p = 0; p < kPlaces; ++p) {
    const int32_t* offsets = p == kPlaceK || p == kPlaceV ? l.k_offsets : l.q_offsets;
    l.places[p][n] = int32_t(offsets[n] * l.steps[p]);
  }
  if (n == l.sequences) { return; }
  const auto q = simt::segment_of(l.q_offsets, l.sequences, n, l.queries), k = simt::segment_of(l.k_offsets, l.sequences, n, l.keys);
  const int64_t own = q.end - q.begin, other = k.end - k.begin;
  if (max(own, other) > l.longest || (own > 0 && other < 1)) { __trap(); }
  l.query_counts[n] = int32_t(own);
  l.key_counts[n] = int32_t(other);
}

}  // namespace

void list_sequences(const SequenceLists& l) { simt::launch<list_them>({.grid = unsigned(l.sequences / 128 + 1), .block = 128}, l); }

}  // namespace pumice::cuda
