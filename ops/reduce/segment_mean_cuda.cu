// segment_mean on CUDA: a block per segment and 256 columns walks down the segment's rows, neighbouring threads in neighbouring columns.
#include "pumice/ops/reduce/segment_mean_kernels.h"
#include "pumice/tensor/simt/simt.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;

// Ends the launch unless segment n is [begin, end) with at least one row, and the last one ends at T.
__device__ __forceinline__ void segment_of(const int32_t* offsets, int64_t n, int64_t N, int64_t T, int64_t& begin, int64_t& end) {
  begin = offsets[n];
  end = offsets[n + 1];
  if (begin < 0 || begin >= end || end > T || (n == 0 && begin != 0) || (n == N - 1 && end != T)) { __trap(); }
}

template <class T> __global__ void __launch_bounds__(kBlock)
mean_of_segments(T* y, const T* x, const int32_t* offsets, int64_t N, int64_t rows, int64_t C, int64_t stripes) {
  const int64_t n = blockIdx.x / stripes, c = blockIdx.x % stripes * kBlock + threadIdx.x;
  int64_t begin, end;
  segment_of(offsets, n, N, rows, begin, end);
  if (c >= C) { return; }
  float sum = 0;
  for (int64_t r = begin; r < end; ++r) { sum += float(x[r * C + c]); }
  y[n * C + c] = T(sum * (1 / float(end - begin)));
}

template <class T> __global__ void __launch_bounds__(kBlock)
mean_of_segments_bwd(T* dx, const T* dy, const int32_t* offsets, int64_t N, int64_t rows, int64_t C, int64_t stripes) {
  const int64_t n = blockIdx.x / stripes, c = blockIdx.x % stripes * kBlock + threadIdx.x;
  int64_t begin, end;
  segment_of(offsets, n, N, rows, begin, end);
  if (c >= C) { return; }
  const T share = T(float(dy[n * C + c]) * (1 / float(end - begin)));
  for (int64_t r = begin; r < end; ++r) { dx[r * C + c] = share; }
}

}  // namespace

void segment_mean_fwd(const SegmentMeanFwd& a) {
  const int64_t N = a.y.shape[0], C = a.y.shape[1], stripes = (C + kBlock - 1) / kBlock;
  if (!N || !C) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::launch<mean_of_segments<T>>({.grid = unsigned(N * stripes), .block = kBlock}, a.y.as<T>(), a.x.as<T>(), a.offsets.as<int32_t>(), N,
                                      a.x.shape[0], C, stripes);
  });
}

void segment_mean_bwd(const SegmentMeanBwd& a) {
  const int64_t N = a.dy.shape[0], C = a.dy.shape[1], stripes = (C + kBlock - 1) / kBlock;
  if (!N || !C) { return; }
  simt::launch_typed(a.dx.dtype, [&]<class T>() {
    simt::launch<mean_of_segments_bwd<T>>({.grid = unsigned(N * stripes), .block = kBlock}, a.dx.as<T>(), a.dy.as<T>(), a.offsets.as<int32_t>(), N,
                                          a.dx.shape[0], C, stripes);
  });
}

}  // namespace pumice::cuda
