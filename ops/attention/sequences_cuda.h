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
  int64_t sequences, queries, keys, heads, kv_heads;  // of the whole packing
  int group;   // query heads that share a head of keys
  int D;
  float scale;
  bool causal;
  int window;  // how many keys a query sees at most
};
inline constexpr int kNoWindow = 1 << 30;  // a place and this add up within an int
template <class Args> AttentionShape shape_of(const Args& a) {
  const int64_t heads = a.q.shape[1], kv_heads = a.k.shape[1];
  return {.sequences = a.q_offsets.shape[0] - 1, .queries = a.q.shape[0], .keys = a.k.shape[0], .heads = heads, .kv_heads = kv_heads,
          .group = int(kv_heads ? heads / kv_heads : 1), .D = int(a.q.shape[2]), .scale = float(a.scale), .causal = a.causal,
          .window = a.window && a.window < kNoWindow ? int(a.window) : kNoWindow};
}

// The tokens of one sequence; offsets are i32, so these are ints. A causal query sees the keys up to its own place counted from the
// end, so that the last sees all; with a window only the last of those.
struct Range { int from, to; };  // [from, to)
struct Sequence {
  int query, queries, key, keys;

  // The rows of the other side that meet a row of this one: the keys that a query sees, the queries that see a key. Both ends rise with the row.
  template <bool kOwnsKeys> __device__ __forceinline__ Range meets(int row, const AttentionShape& s) const {
    if constexpr (kOwnsKeys) {
      if (!s.causal) { return {0, queries}; }
      const int first = row - (keys - queries);
      return {max(0, first), min(queries, first + s.window)};
    } else {
      const int end = s.causal ? row + 1 + keys - queries : keys;
      return {max(0, end - s.window), end};
    }
  }
  // The same for `rows` rows from `row` on.
  template <bool kOwnsKeys> __device__ __forceinline__ Range meets(int row, int rows, const AttentionShape& s) const {
    return {meets<kOwnsKeys>(row, s).from, meets<kOwnsKeys>(row + rows - 1, s).to};
  }
};

// The block's share: rows [start, start + rows) of its own side of a sequence, for one head of that side. Grid: row blocks (segments.h) * heads.
struct Share {
  Sequence sequence;
  int start, rows, head;
};
template <int kRows, bool kOwnsKeys>
__device__ __forceinline__ Share share_of(const AttentionShape& s, const int32_t* q_offsets, const int32_t* k_offsets) {
  const int64_t numbers = gridDim.x / (kOwnsKeys ? s.kv_heads : s.heads);
  const auto own = simt::segment_block<kRows>(kOwnsKeys ? k_offsets : q_offsets, s.sequences, kOwnsKeys ? s.keys : s.queries, blockIdx.x % numbers);
  const auto q = simt::segment_of(q_offsets, s.sequences, own.segment, s.queries), k = simt::segment_of(k_offsets, s.sequences, own.segment, s.keys);
  const Sequence sequence{int(q.begin), int(q.end - q.begin), int(k.begin), int(k.end - k.begin)};
  if (sequence.queries > 0 && sequence.keys < (s.causal ? sequence.queries : 1)) { __trap(); }
  return {sequence, int(own.start - own.begin), own.empty() ? 0 : int(own.end - own.start), int(blockIdx.x / numbers)};
}
template <int kRows, bool kOwnsKeys> unsigned grid_of(const AttentionShape& s) {
  return unsigned(simt::segment_blocks(kOwnsKeys ? s.keys : s.queries, s.sequences, kRows) * (kOwnsKeys ? s.kv_heads : s.heads));
}

// The heads of queries that a block goes through: its own, or those that share its head of keys.
template <bool kOwnsKeys> __device__ __forceinline__ Range query_heads(const AttentionShape& s, const Share& own) {
  return kOwnsKeys ? Range{own.head * s.group, (own.head + 1) * s.group} : Range{own.head, own.head + 1};
}

// Heads beyond the registers of the mma kernels, and f32, go through f32 in shared memory; this many elements of a row fit there.
inline constexpr int64_t kMostAttentionD = 256;

}  // namespace pumice::cuda
