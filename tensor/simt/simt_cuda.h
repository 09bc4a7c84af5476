// nvcc's side of simt.h: wrappers over the real thing. The only file with PTX in it, but for the conversion of dtype.h; each instruction has its
// emulated body in simt_emu.h.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>
#include <utility>

#define SIMT_UNROLL _Pragma("unroll")
#define SIMT_PRAGMA(text) _Pragma(#text)
#define SIMT_UNROLL_BY(n) SIMT_PRAGMA(unroll n)
#define SIMT_AND_LOC
#define SIMT_SHARED(type, name, dims) __shared__ __align__(16) type name dims
#define SIMT_DYN_SHARED(type, name)                           \
  extern __shared__ __align__(128) unsigned char simt_dyn_[]; \
  type* name = reinterpret_cast<type*>(simt_dyn_)

namespace pumice::cuda_device {
cudaStream_t stream();                                      // the stream that all work of this thread's device goes to
void require_launched(cudaError_t error, const char* name);  // throws DeviceError naming the kernel
void allow_shared_memory(const void* kernel, size_t bytes, const char* name);  // more than 48 KiB must be asked for; throws DeviceError
}  // namespace pumice::cuda_device

namespace pumice::simt {

// N bytes that one instruction moves.
template <int N> struct WordOf;
template <> struct WordOf<1> { using type = uint8_t; };
template <> struct WordOf<2> { using type = uint16_t; };
template <> struct WordOf<4> { using type = uint32_t; };
template <> struct WordOf<8> { using type = uint2; };
template <> struct WordOf<16> { using type = uint4; };

struct Launch {
  dim3 grid{1}, block{1};
  size_t smem = 0;  // bytes of dynamic shared memory
};
namespace detail {
template <auto K, class... P> void launch(const Launch& c, void (*)(P...), std::type_identity_t<P>... a) {
  static_assert((std::is_trivially_copyable_v<P> && ...), "kernel arguments are copied bytewise");
  if (c.smem > 48 * 1024) { cuda_device::allow_shared_memory(reinterpret_cast<const void*>(K), c.smem, __PRETTY_FUNCTION__); }
  cudaLaunchConfig_t config{};
  config.gridDim = c.grid;
  config.blockDim = c.block;
  config.dynamicSmemBytes = c.smem;
  config.stream = cuda_device::stream();
  cuda_device::require_launched(cudaLaunchKernelEx(&config, K, a...), __PRETTY_FUNCTION__);
}
}  // namespace detail
template <auto K, class... A> void launch(const Launch& c, A&&... a) { detail::launch<K>(c, K, std::forward<A>(a)...); }

__device__ __forceinline__ uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

// D (16 x 8, f32) += A (16 x 16, bf16, row-major) B (16 x 8, bf16, column-major), in the fragments of PTX's mma.m16n8k16.
__device__ __forceinline__ void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Four 8 x 8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
// Copies 16 bytes to shared memory without a register; src_bytes < 16 fills the rest with zeros (0: nothing is read).
__device__ __forceinline__ void cp_async16(void* dst, const void* src, int src_bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;" ::"r"(shared_address(dst)), "l"(src), "r"(src_bytes) : "memory");
}
// Two floats rounded to bf16, the first in the low half.
__device__ __forceinline__ uint32_t round_to_bf16x2(float low, float high) {
  uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0,%1,%2;" : "=r"(both) : "f"(high), "f"(low));
  return both;
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

}  // namespace pumice::simt
