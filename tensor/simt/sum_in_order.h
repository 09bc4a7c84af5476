// The sum of a few numbers per row or block, in f64 and in a fixed order: the last step of losses and norms.
#pragma once
#include "pumice/tensor/simt/simt.h"

namespace pumice::simt {

inline constexpr int kSumBlock = 1024;

// One block; every thread of it gets the sum of f(i) over i in [0, n): thread t adds i = t, t + 1024, ..., then the block's tree.
template <class F> __device__ __forceinline__ double sum_in_order(int64_t n, const F& f) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kSumBlock) { sum += double(f(i)); }
  return block_reduce(sum, Sum(), 0.0);
}

template <class X> __global__ void __launch_bounds__(kSumBlock) sum_in_order_kernel(float* y, const X* x, int64_t n, double divisor) {
  const double sum = sum_in_order(n, [=](int64_t i) { return x[i]; });
  if (threadIdx.x == 0) { *y = float(sum / divisor); }
}

// *y = sum(x) / divisor
template <class X> void write_sum(float* y, const X* x, int64_t n, double divisor = 1) {
  launch<sum_in_order_kernel<X>>({.grid = 1, .block = kSumBlock}, y, x, n, divisor);
}

}  // namespace pumice::simt
