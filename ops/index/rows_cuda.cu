// Rows by index on CUDA. Gather: a warp per row, 16 bytes per lane where rows are aligned. Scatter-add without atomics: the sources of every
// destination are listed in ascending order, then each destination sums its own.
#include "pumice/ops/index/rows_kernels.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;

// Rows of `words` elements of W, whatever they hold. A row number out of [-1, T) ends the launch.
template <class W> __global__ void __launch_bounds__(kBlock) gather(W* y, const W* x, const int32_t* rows, int64_t R, int64_t T, int64_t words) {
  const int64_t i = int64_t(blockIdx.x) * (kBlock / 32) + threadIdx.x / 32;
  if (i >= R) { return; }
  const int64_t t = rows[i];
  if (t < -1 || t >= T) { __trap(); }
  for (int64_t c = threadIdx.x % 32; c < words; c += 32) { y[i * words + c] = t < 0 ? W{} : x[t * words + c]; }
}

// A block owns 256 destinations and reads all of `rows` twice (from L2): first to count its own and what lies before them, which gives where each
// list begins; then to place the sources, in order. Tiles of 256: hits are compacted in shared memory and every thread takes those of its own
// destination. first (T + 1), order (R).
__global__ void __launch_bounds__(kBlock) list_sources(int32_t* first, int32_t* order, const int32_t* rows, int64_t R, int64_t T) {
  SIMT_SHARED(int32_t, hit_row, [kBlock]);
  SIMT_SHARED(int32_t, hit_source, [kBlock]);
  const int64_t base = int64_t(blockIdx.x) * kBlock, t = base + threadIdx.x, end = min(base + kBlock, T);
  int32_t mine = 0, before = 0, at = 0;
  for (int pass = 0; pass < 2; ++pass) {
    for (int64_t tile = 0; tile < R; tile += kBlock) {
      const int64_t i = tile + threadIdx.x;
      const int32_t row = i < R ? rows[i] : -1;
      if (row < -1 || row >= T) { __trap(); }
      before += pass == 0 && row >= 0 && row < base;
      const int hit = row >= base && row < end;
      if (!__syncthreads_or(hit)) { continue; }
      int hits;
      const int place = simt::block_exclusive_scan(hit, hits);
      if (hit) {
        hit_row[place] = row;
        hit_source[place] = int32_t(i);
      }
      __syncthreads();
      for (int h = 0; h < hits; ++h) {
        if (hit_row[h] != t) { continue; }
        if (pass == 0) { ++mine; }
        else { order[at++] = hit_source[h]; }
      }
      __syncthreads();
    }
    if (pass == 1) { return; }
    int32_t block_total;
    const int32_t preceding = simt::block_reduce(before, simt::Sum(), 0);
    at = preceding + simt::block_exclusive_scan(mine, block_total);
    if (t < T) { first[t] = at; }
    if (t == T - 1) { first[T] = at + mine; }
  }
}

// A warp per stripe of a destination: two times 32 V columns, so that what it reads of the lists is little beside them. With beta 1 there is a warp for every
// source instead, and all but those of a destination's first one return: what nothing names costs nothing then, and most rows of a table are such.
constexpr int kPieces = 2;
template <class Y, class X, int V> __global__ void __launch_bounds__(kBlock)
sum_sources(Y* y, const X* x, const int32_t* rows, const int32_t* first, const int32_t* order, int64_t R, int64_t T, int64_t C, int64_t stripes, int beta) {
  const int64_t task = int64_t(blockIdx.x) * (kBlock / 32) + threadIdx.x / 32, number = task / stripes;
  if (number >= (beta ? R : T) || (beta && number >= first[T])) { return; }
  const int64_t t = beta ? rows[order[number]] : number;
  const int32_t begin = first[t];
  if (beta && begin != number) { return; }
  const int32_t end = first[t + 1];
  const int64_t c0 = (task % stripes * kPieces * 32 + threadIdx.x % 32) * V;
  float sum[kPieces][V] = {};
  const auto each = [&](const auto& f) {  // f(piece, its first column of this lane)
    SIMT_UNROLL
    for (int i = 0; i < kPieces; ++i) {
      if (c0 + i * 32 * V < C) { f(i, c0 + i * 32 * V); }
    }
  };
  const auto add = [&](int i, const auto& v) {
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { sum[i][j] += float(v.v[j]); }
  };
  if (beta) { each([&](int i, int64_t c) { add(i, simt::load_vector<V>(y + t * C + c)); }); }
  for (int32_t k = begin; k < end; ++k) {
    const X* from = x + order[k] * C;
    each([&](int i, int64_t c) { add(i, simt::load_vector<V>(from + c)); });
  }
  each([&](int i, int64_t c) {
    simt::Vector<Y, V> out;
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { out.v[j] = Y(sum[i][j]); }
    simt::store_vector(y + t * C + c, out);
  });
}

template <class W> void gather_words(const GatherRows& a, int64_t bytes) {
  const int64_t R = a.rows.shape[0];
  simt::launch<gather<W>>({.grid = simt::blocks_for(R, kBlock / 32, INT32_MAX), .block = kBlock}, a.y.as<W>(), a.x.as<W>(), a.rows.as<int32_t>(), R,
                          a.x.shape[0], bytes / int64_t(sizeof(W)));
}

}  // namespace

void gather_rows_kernel(const GatherRows& a) {
  const int64_t bytes = a.x.shape[1] * size_of(a.x.dtype);
  if (!a.rows.shape[0] || !bytes) { return; }
  if (bytes % 16 == 0 && simt::aligned16(a.y.data, a.x.data)) { gather_words<uint4>(a, bytes); }
  else if (size_of(a.x.dtype) == 2) { gather_words<uint16_t>(a, bytes); }
  else { gather_words<uint32_t>(a, bytes); }
}

void scatter_add_rows_kernel(const ScatterAddRows& a) {
  const int64_t T = a.y.shape[0], C = a.y.shape[1], R = a.rows.shape[0];
  if (!T || !C) { return; }
  const int32_t* rows = a.rows.as<int32_t>();
  int32_t *first = a.first.as<int32_t>(), *order = a.next.as<int32_t>();
  simt::launch<list_sources>({.grid = simt::blocks_for(T, kBlock, INT32_MAX), .block = kBlock}, first, order, rows, R, T);
  simt::launch_typed(a.y.dtype, [&]<class Y>() {
    simt::launch_typed(a.x.dtype, [&]<class X>() {
      const auto launch = [&]<int V>() {
        const int64_t stripes = (C + kPieces * 32 * V - 1) / (kPieces * 32 * V);
        simt::launch<sum_sources<Y, X, V>>({.grid = simt::blocks_for((a.beta ? R : T) * stripes, kBlock / 32, INT32_MAX), .block = kBlock}, a.y.as<Y>(),
                                           a.x.as<X>(), rows, first, order, R, T, C, stripes, a.beta);
      };
      if (C % 4 == 0 && simt::aligned16(a.y.data, a.x.data)) { launch.template operator()<4>(); }
      else { launch.template operator()<1>(); }
    });
  });
}

}  // namespace pumice::cuda
