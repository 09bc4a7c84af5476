// Blocks of rows that stay inside segments (experts, sequences), for offsets that live on the device: the host knows how many rows there are, but
// not where a segment ends, and must not wait to learn it.
#pragma once
#include "pumice/tensor/simt/simt.h"

namespace pumice::simt {

// Segment n owns block numbers from offsets[n] / rows + n on. That rises, and leaves every segment as many numbers as it needs, because
// floor(b / r) - floor(a / r) + 1 >= ceil((b - a) / r). At most one number per segment is of no use.
inline int64_t segment_blocks(int64_t rows, int64_t segments, int rows_of_block) { return rows / rows_of_block + segments; }

// Rows [start, end) of a segment. Offsets (segments + 1) that do not rise from 0 to `rows` end the launch with an error. kRest: they rise to at most
// `rows`, and what they leave is one segment more.
struct SegmentBlock {
  int64_t segment, begin, start, end;  // begin: where the segment itself starts
  __device__ __forceinline__ bool empty() const { return start >= end; }
};
template <bool kRest = false>
__device__ __forceinline__ SegmentBlock segment_of(const int32_t* offsets, int64_t segments, int64_t segment, int64_t rows) {
  const int64_t begin = offsets[segment], end = kRest && segment == segments ? rows : offsets[segment + 1];
  if (offsets[0] != 0 || (kRest ? offsets[segments] > rows : offsets[segments] != rows) || begin < 0 || begin > end || end > rows) { __trap(); }
  return {segment, begin, begin, end};
}
template <int kRows, bool kRest = false>
__device__ __forceinline__ SegmentBlock segment_block(const int32_t* offsets, int64_t segments, int64_t rows, int64_t number) {
  int64_t low = 0, high = segments + kRest;  // the last segment whose first number is not above `number`
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] / kRows + middle <= number) { low = middle; }
    else { high = middle; }
  }
  SegmentBlock block = segment_of<kRest>(offsets, segments, low, rows);
  block.start += (number - (block.begin / kRows + low)) * kRows;
  block.end = min(block.end, block.start + kRows);
  return block;
}

}  // namespace pumice::simt
