// One kernel source, two compilers. *_cuda.cu files include this header and nothing of CUDA:
//   nvcc          simt_cuda.h adds thin wrappers: launch, shared memory, cp.async, ldmatrix, mma.sync
//   g++, clang++  simt_emu.h supplies the CUDA language on the CPU (PUMICE_CUDA=emulate)
//
//   template <int BLOCK> __global__ void __launch_bounds__(BLOCK) scale(float* y, const float* x, int64_t n) { ... }
//   simt::launch<scale<256>>({.grid = simt::blocks_for(n, 256), .block = 256}, y, x, n);
//
// Rules: launches only through launch<kernel>; shared memory only through SIMT_SHARED and SIMT_DYN_SHARED; PTX only in simt_cuda.h; no
// memcpy() of run-time size and no STL in kernels; reductions in a fixed order, without floating-point atomics.
#pragma once
#if defined(__CUDACC__)
#include "pumice/tensor/simt/simt_cuda.h"
#else
#include "pumice/tensor/simt/simt_emu.h"
#endif
#include "pumice/tensor/dtype.h"

namespace pumice::simt {

struct Sum { template <class T> __device__ T operator()(T a, T b) const { return a + b; } };
struct Max { template <class T> __device__ T operator()(T a, T b) const { return a > b || a != a ? a : b; } };  // a NaN stays

// Every lane gets the result, combined as a butterfly: the same order on every run.
template <class T, class Op> __device__ __forceinline__ T warp_reduce(T v, Op op SIMT_AND_LOC) {
#if PUMICE_SIMT_EMULATED  // one meeting of the lanes in place of five; the same butterfly, so the same bits
  return emu::collective(emu::Kind::reduce, ~0u, v, loc, [op](emu::Meeting* m) {
    T a[32], b[32];
    for (int i = 0; i < 32; ++i) { std::memcpy(&a[i], m->slot[i], sizeof(T)); }
    for (int k = 16; k; k >>= 1) {
      for (int i = 0; i < 32; ++i) { b[i] = op(a[i], a[i ^ k]); }
      for (int i = 0; i < 32; ++i) { a[i] = b[i]; }
    }
    for (int i = 0; i < 32; ++i) { std::memcpy(m->slot[i], &a[i], sizeof(T)); }
  }, emu::lane());
#else
  SIMT_UNROLL
  for (int k = 16; k; k >>= 1) { v = op(v, __shfl_xor_sync(0xffffffffu, v, k)); }
  return v;
#endif
}
template <class T> __device__ __forceinline__ T warp_inclusive_scan(T v) {
  const int lane = threadIdx.x & 31;
  SIMT_UNROLL
  for (int k = 1; k < 32; k <<= 1) {
    T u = __shfl_up_sync(0xffffffffu, v, k);
    if (lane >= k) { v += u; }
  }
  return v;
}
// Every thread gets the result. One-dimensional blocks of whole warps; may be called repeatedly.
template <class T, class Op> __device__ T block_reduce(T v, Op op, T identity) {
  SIMT_SHARED(T, part, [32]);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  v = warp_reduce(v, op);
  __syncthreads();  // the readers of the previous call are done
  if (lane == 0) { part[warp] = v; }
  __syncthreads();
  return warp_reduce(lane < warps ? part[lane] : identity, op);
}
// Exclusive prefix sum over the block; the total to everyone.
template <class T> __device__ T block_exclusive_scan(T v, T& total) {
  SIMT_SHARED(T, part, [32]);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  const T inclusive = warp_inclusive_scan(v);
  __syncthreads();
  if (lane == 31) { part[warp] = inclusive; }
  __syncthreads();
  const T p = lane < warps ? part[lane] : T(0);
  const T sums = warp_inclusive_scan(p);
  total = __shfl_sync(0xffffffffu, sums, warps - 1);
  return __shfl_sync(0xffffffffu, sums - p, warp) + inclusive - v;
}

// Two floats rounded to bf16 in one register, the first in the low half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
#if PUMICE_SIMT_EMULATED
  return uint32_t(bf16(low).bits) | uint32_t(bf16(high).bits) << 16;
#else
  return round_to_bf16x2(low, high);
#endif
}

// Blocks that cover n items, or at most `most` of them for kernels whose threads loop with a stride of the grid.
inline unsigned blocks_for(int64_t n, int64_t per_block, int64_t most = int64_t(1) << 20) {
  int64_t b = (n + per_block - 1) / per_block;
  return unsigned(b < 1 ? 1 : b > most ? most : b);
}

// The types that CUDA kernels compute in: launch_typed(x.dtype, [&]<class T>() { ... }) with T = float or bf16.
[[noreturn]] void dtype_has_no_kernel(DType d);
template <class F> inline void launch_typed(DType d, F&& f) {
  switch (d) {
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bf16>();
    default: dtype_has_no_kernel(d);
  }
}

}  // namespace pumice::simt
