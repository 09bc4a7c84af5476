// What the CUDA kernels of attention share: operands in memory, the rows of a sequence, and the division of work. Every kernel gives a block some rows
// of one head of one sequence, queries or keys, and walks over the other side in tiles: nothing is summed by two blocks, so no atomics are needed.
#pragma once
#include "pumice/ops/attention/attention_kernels.h"
#include "pumice/tensor/simt/rows.h"
#include "pumice/tensor/simt/segments.h"

namespace pumice::cuda {

// (tokens, H, D) with dense D; strides in elements.
template <class T> struct Heads {
  T* data;
  int64_t token, head;
  bool vector;  // 16-byte chunks of every row are aligned

  __device__ __forceinline__ T* at(int t, int h) const { return data + t * token + h * head; }
};
template <class T> Heads<T> heads_of(const View& v) {
  const int64_t chunk = simt::kVectorOf<std::remove_const_t<T>>;
  return {v.as<T>(), v.stride[0], v.stride[1], simt::aligned16(v.data) && v.stride[0] % chunk == 0 && v.stride[1] % chunk == 0};
}

struct AttentionShape {
  int64_t sequences, queries, keys, heads;  // of the whole packing
  int D;
  float scale;
  bool causal;
};
template <class Args> AttentionShape shape_of(const Args& a) {
  return {a.q_offsets.shape[0] - 1, a.q.shape[0], a.k.shape[0], a.q.shape[1], int(a.q.shape[2]), float(a.scale), a.causal};
}

// The tokens of one sequence; offsets are i32, so these are ints. A causal query sees the keys up to its own place counted from the
// end, so that the last sees all.
struct Sequence {
  int query, queries, key, keys;
  __device__ __forceinline__ int visible(int i, bool causal) const { return causal ? i + 1 + keys - queries : keys; }              // keys, to query i
  __device__ __forceinline__ int first_query(int j, bool causal) const { return causal ? max(0, j - (keys - queries)) : 0; }  // that sees key j
};

// The block's share: rows [start, start + rows) of its own side of a sequence, for one head. Grid: row blocks (segments.h) * heads.
struct Share {
  Sequence sequence;
  int start, rows, head;
};
template <int kRows>
__device__ __forceinline__ Share share_of(const AttentionShape& s, bool own_keys, const int32_t* q_offsets, const int32_t* k_offsets) {
  const int64_t numbers = gridDim.x / s.heads;
  const auto own = simt::segment_block<kRows>(own_keys ? k_offsets : q_offsets, s.sequences, own_keys ? s.keys : s.queries, blockIdx.x % numbers);
  const auto q = simt::segment_of(q_offsets, s.sequences, own.segment, s.queries), k = simt::segment_of(k_offsets, s.sequences, own.segment, s.keys);
  const Sequence sequence{int(q.begin), int(q.end - q.begin), int(k.begin), int(k.end - k.begin)};
  if (sequence.queries > 0 && sequence.keys < (s.causal ? sequence.queries : 1)) { __trap(); }
  return {sequence, int(own.start - own.begin), own.empty() ? 0 : int(own.end - own.start), int(blockIdx.x / numbers)};
}
template <int kRows> unsigned grid_of(const AttentionShape& s, bool own_keys) {
  return unsigned(simt::segment_blocks(own_keys ? s.keys : s.queries, s.sequences, kRows) * s.heads);
}

// Heads beyond the registers of the mma kernels, and f32, go through f32 in shared memory; this many elements of a row fit there.
inline constexpr int64_t kMostAttentionD = 256;

}  // namespace pumice::cuda
