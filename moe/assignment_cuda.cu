// Slot assignment on CUDA: a block per group sorts the group's tokens by priority and counts their claims, both with one primitive: the place of
// an item among the earlier items of its bin. Integers only, so every run gives the same places as the CPU. Traffic per token: 16 bytes for each of
// at most four sorting passes, 8 K bytes for the claims; groups of a few thousand tokens stay in the first-level cache.
#include "pumice/moe/assignment_kernels.h"
#include "pumice/moe/router_rows_cuda.h"
#include "pumice/tensor/simt/device_scratch.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 512, kWarps = kBlock / 32, kDigits = 256;

// Shared memory of a block: next[b] is the place of the next item of bin b; of_warp[w][b] the same for the items of warp w of the current tile.
struct Bins {
  int32_t *next, *of_warp;
  int count;

  static constexpr int64_t bytes(int64_t count) { return (1 + kWarps) * count * int64_t(sizeof(int32_t)); }
  __device__ Bins(int32_t* shared, int n) : next(shared), of_warp(shared + n), count(n) {}

  __device__ void clear() const {
    for (int b = threadIdx.x; b < count; b += kBlock) { next[b] = 0; }
    __syncthreads();
  }
  // For a tile of one item per thread, in order of threads: the place of each in its bin, behind all items before it. bin -1: no item.
  __device__ int32_t place(int32_t bin) const {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int i = threadIdx.x; i < kWarps * count; i += kBlock) { of_warp[i] = 0; }
    __syncthreads();
    const unsigned peers = __match_any_sync(~0u, bin);
    const int before = __popc(peers & ((1u << lane) - 1));
    if (bin >= 0 && before == 0) { of_warp[warp * count + bin] = __popc(peers); }
    __syncthreads();
    for (int b = threadIdx.x; b < count; b += kBlock) {
      int32_t at = next[b];
      for (int w = 0; w < kWarps; ++w) {
        const int32_t items = of_warp[w * count + b];
        of_warp[w * count + b] = at;
        at += items;
      }
      next[b] = at;
    }
    __syncthreads();
    const int32_t place = bin < 0 ? -1 : of_warp[warp * count + bin] + before;
    __syncthreads();  // of_warp is free for the next tile
    return place;
  }
};

struct Claims {  // of one group, in global memory
  uint32_t* key;  // smaller keys claim first
  int32_t* token;
};

// One pass of a radix sort: stable by the digit of the key at `shift`. False, with nothing done, if all keys have the same digit.
__device__ bool sort_by_digit(const Claims& to, const Claims& from, int64_t n, int shift, const Bins& bins) {
  bins.clear();
  for (int64_t i = threadIdx.x; i < n; i += kBlock) { atomicAdd(&bins.next[from.key[i] >> shift & (kDigits - 1)], 1); }
  __syncthreads();
  const int32_t items = threadIdx.x < kDigits ? bins.next[threadIdx.x] : 0;
  int32_t total;
  const int32_t first = simt::block_exclusive_scan(items, total);
  if (__syncthreads_or(items == total)) { return false; }
  if (threadIdx.x < kDigits) { bins.next[threadIdx.x] = first; }
  __syncthreads();
  for (int64_t tile = 0; tile < n; tile += kBlock) {
    const int64_t i = tile + threadIdx.x;
    const uint32_t key = i < n ? from.key[i] : 0;
    const int32_t place = bins.place(i < n ? int32_t(key >> shift & (kDigits - 1)) : -1);
    if (i < n) {
      to.key[place] = key;
      to.token[place] = from.token[i];
    }
  }
  __syncthreads();  // `to` is complete
  return true;
}

// A block per group. keys and tokens (2, T) are scratch; unused when claims come in order of position.
__global__ void __launch_bounds__(kBlock)
assign_group(int32_t* slot, int32_t* claims, const int32_t* expert, const float* gate, const int64_t* offsets, const int64_t* capacity,
             uint32_t* keys, int32_t* tokens, int64_t T, int64_t E, int64_t K, int64_t first_group, Order order, RandomKey key) {
  const RandomKey random = with_step(key);
  SIMT_DYN_SHARED(int32_t, shared);
  const int64_t g = blockIdx.x, begin = offsets[g], n = offsets[g + 1] - begin, Q = capacity[g];
  Claims sorted{keys + begin, tokens + begin}, other{keys + T + begin, tokens + T + begin};
  if (order != Order::position) {
    for (int64_t s = threadIdx.x; s < n; s += kBlock) {
      // Gates are probabilities, and the bits of floats >= 0 are ordered as the numbers are.
      sorted.key[s] = order == Order::random ? random_bits(random, (uint64_t(first_group + g) << 32) + uint64_t(s))
                                             : ~uint32_t(__float_as_int(gate[(begin + s) * K]));
      sorted.token[s] = int32_t(s);
    }
    __syncthreads();
    for (int shift = 0; shift < 32; shift += 8) {
      if (sort_by_digit(other, sorted, n, shift, Bins(shared, kDigits))) {
        const Claims last = sorted;
        sorted = other;
        other = last;
      }
    }
  }
  const Bins of_expert(shared, int(E));
  of_expert.clear();
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t tile = 0; tile < n; tile += kBlock) {
      const int64_t i = tile + threadIdx.x;
      const int64_t token = i < n && order != Order::position ? sorted.token[i] : i, at = (begin + token) * K + k;
      const int32_t place = of_expert.place(i < n ? expert[at] : -1);
      if (i < n) { slot[at] = place < Q ? place : -1; }
    }
  }
  for (int64_t e = threadIdx.x; e < E; e += kBlock) { claims[g * E + e] = of_expert.next[e]; }
}

// claims (G, E) that found a place, summed over groups. A block per expert.
__device__ __forceinline__ int32_t kept(const int32_t* claims, const int64_t* capacity, int64_t g, int64_t e, int64_t E) {
  return int32_t(min(int64_t(claims[g * E + e]), capacity[g]));
}
__global__ void __launch_bounds__(kBlock) count_rows(int32_t* rows, const int32_t* claims, const int64_t* capacity, int64_t G, int64_t E) {
  int32_t sum = 0;
  for (int64_t g = threadIdx.x; g < G; g += kBlock) { sum += kept(claims, capacity, g, blockIdx.x, E); }
  sum = simt::block_reduce(sum, simt::Sum(), 0);
  if (threadIdx.x == 0) { rows[blockIdx.x] = sum; }
}
// Their places. A block per expert: it begins where the rows of the experts before it end, and walks over its groups.
__global__ void __launch_bounds__(kBlock)
lay_out_rows(int32_t* first_row, int32_t* expert_offsets, const int32_t* rows, const int32_t* claims, const int64_t* capacity, int64_t G, int64_t E) {
  const int64_t e = blockIdx.x;
  int32_t before = 0;
  for (int64_t i = threadIdx.x; i < e; i += kBlock) { before += rows[i]; }
  int32_t at = simt::block_reduce(before, simt::Sum(), 0), total;
  if (threadIdx.x == 0) {
    expert_offsets[e] = at;
    if (e + 1 == E) { expert_offsets[E] = at + rows[e]; }
  }
  for (int64_t tile = 0; tile < G; tile += kBlock) {
    const int64_t g = tile + threadIdx.x;
    const int32_t place = simt::block_exclusive_scan(g < G ? kept(claims, capacity, g, e, E) : 0, total);
    if (g < G) { first_row[g * E + e] = at + place; }
    at += total;
  }
}

// pieces blocks per group, a thread per choice.
__global__ void __launch_bounds__(kBlock)
rows_of_slots(int32_t* row_out, int32_t* token_of_row, const int32_t* slot, const int32_t* expert, const int32_t* first_row, const int64_t* offsets,
              int64_t E, int64_t K, int64_t pieces) {
  const int64_t g = blockIdx.x / pieces, piece = blockIdx.x % pieces, end = offsets[g + 1] * K;
  for (int64_t at = offsets[g] * K + piece * kBlock + threadIdx.x; at < end; at += pieces * kBlock) {
    const int32_t row = slot[at] < 0 ? -1 : first_row[g * E + expert[at]] + slot[at];
    row_out[at] = row;
    if (row >= 0) { token_of_row[row] = int32_t(at / K); }
  }
}

}  // namespace

void assign_slots_kernel(const AssignSlots& a) {
  if (!a.groups) { return; }
  simt::require_f32(a.gate.dtype);
  const int64_t T = a.expert.shape[0], scratch = a.order == Order::position ? 0 : 2 * T;
  const simt::DeviceScratch<uint32_t> keys(scratch);
  const simt::DeviceScratch<int32_t> tokens(scratch);
  const int64_t bins = a.experts > kDigits ? a.experts : kDigits;
  simt::launch<assign_group>({.grid = unsigned(a.groups), .block = kBlock, .smem = size_t(Bins::bytes(bins))}, a.slot.as<int32_t>(),
                             a.claims.as<int32_t>(), a.expert.as<int32_t>(), a.gate.as<float>(), a.offsets.as<int64_t>(), a.capacity.as<int64_t>(),
                             keys.get(), tokens.get(), T, a.experts, a.per_token, a.first_group, a.order, a.key);
}

void lay_out_rows_kernel(const LayOutRows& a) {
  const simt::DeviceScratch<int32_t> rows(a.experts);
  const simt::Launch per_expert{.grid = unsigned(a.experts), .block = kBlock};
  const int32_t* claims = a.claims.as<int32_t>();
  const int64_t* capacity = a.capacity.as<int64_t>();
  simt::launch<count_rows>(per_expert, rows.get(), claims, capacity, a.groups, a.experts);
  simt::launch<lay_out_rows>(per_expert, a.first_row.as<int32_t>(), a.expert_offsets.as<int32_t>(), rows.get(), claims, capacity, a.groups, a.experts);
}

void assign_rows_kernel(const AssignRows& a) {
  if (!a.groups) { return; }
  const int64_t choices = a.expert.shape[0] * a.per_token, pieces = simt::blocks_for(choices / a.groups, 4 * kBlock, 256);
  simt::launch<rows_of_slots>({.grid = unsigned(a.groups * pieces), .block = kBlock}, a.row.as<int32_t>(), a.token_of_row.as<int32_t>(),
                              a.slot.as<int32_t>(), a.expert.as<int32_t>(), a.first_row.as<int32_t>(), a.offsets.as<int64_t>(), a.experts,
                              a.per_token, pieces);
}

}  // namespace pumice::cuda
