// Kernels that go element by element over packed arrays of one size, V neighbours at a time.
#pragma once
#include "pumice/tensor/simt/rows.h"

namespace pumice::simt {

inline constexpr int kVectorBlock = 256;  // threads of a block

// f(i) for vectors i < n / V of this thread, then tail(i) for the n % V elements behind them.
template <int V, class F, class G> __device__ __forceinline__ void each_vector(int64_t n, const F& f, const G& tail) {
  const int64_t thread = int64_t(blockIdx.x) * kVectorBlock + threadIdx.x, threads = int64_t(gridDim.x) * kVectorBlock;
  for (int64_t i = thread; i < n / V; i += threads) { f(i * V); }
  for (int64_t i = n / V * V + thread; i < n; i += threads) { tail(i); }
}

// Host: f.template operator()<V>(launch) with the V and the grid for n elements of T; aligned: every array begins at a multiple of 16 bytes.
template <class T, class F> void with_vector(int64_t n, bool aligned, const F& f) {
  const auto run = [&]<int V>() { f.template operator()<V>(Launch{.grid = blocks_for(n, kVectorBlock * V, 65536), .block = kVectorBlock}); };
  if (aligned) { run.template operator()<kVectorOf<T>>(); }
  else { run.template operator()<1>(); }
}

}  // namespace pumice::simt
