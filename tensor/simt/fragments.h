// Operands of mma_bf16_16816 out of shared memory. A tile is either [line][k] or [k][line], lines being rows of A or columns of B; its rows begin at 16
// bytes, `stride` elements apart. A stride of 8 more than a multiple of 16 keeps the eight rows of a matrix in eight different groups of four banks.
#pragma once
#include "pumice/tensor/simt/simt.h"

namespace pumice::simt {

using Fragment = uint32_t[4];  // of A: 16 lines of 16 k. Of B: two times 8 lines of 16 k, in elements 0, 1 and 2, 3

__device__ __forceinline__ void load_a(Fragment& r, const bf16* tile, int stride, int line, int k) {  // from [line][k]
  const int lane = int(threadIdx.x) & 31;
  ldmatrix_x4(r, tile + (line + (lane & 15)) * stride + k + (lane >> 4) * 8);
}
__device__ __forceinline__ void load_a_transposed(Fragment& r, const bf16* tile, int stride, int line, int k) {  // from [k][line]
  const int lane = int(threadIdx.x) & 31;
  ldmatrix_x4_trans(r, tile + (k + (lane & 7) + (lane >> 4) * 8) * stride + line + (lane >> 3 & 1) * 8);
}
__device__ __forceinline__ void load_b(Fragment& r, const bf16* tile, int stride, int line, int k) {  // from [line][k]
  const int lane = int(threadIdx.x) & 31;
  ldmatrix_x4(r, tile + (line + (lane & 7) + (lane >> 4) * 8) * stride + k + (lane >> 3 & 1) * 8);
}
__device__ __forceinline__ void load_b_transposed(Fragment& r, const bf16* tile, int stride, int line, int k) {  // from [k][line]
  const int lane = int(threadIdx.x) & 31;
  ldmatrix_x4_trans(r, tile + (k + (lane & 15)) * stride + line + (lane >> 4) * 8);
}

// d[0], d[1] (16 x 8 each) += A (16 x 16) times the two halves of B.
__device__ __forceinline__ void multiply_pair(float (&d0)[4], float (&d1)[4], const Fragment& a, const Fragment& b) {
  const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
  mma_bf16_16816(d0, a, b0);
  mma_bf16_16816(d1, a, b1);
}
// Two neighbouring 16 x 8 results as the A of a further product: their registers already lie in its order.
__device__ __forceinline__ void as_a(Fragment& r, const float (&left)[4], const float (&right)[4]) {
  r[0] = pack_bf16(left[0], left[1]);
  r[1] = pack_bf16(left[2], left[3]);
  r[2] = pack_bf16(right[0], right[1]);
  r[3] = pack_bf16(right[2], right[3]);
}

// Up to eight elements that lie `step` apart, those from `count` on zero, into 16 bytes of shared memory.
__device__ __forceinline__ void gather_chunk(bf16* to, const bf16* from, int64_t step, int count) {
  uint32_t word[4];
  SIMT_UNROLL
  for (int e = 0; e < 4; ++e) {
    const uint32_t low = 2 * e < count ? from[2 * e * step].bits : 0, high = 2 * e + 1 < count ? from[(2 * e + 1) * step].bits : 0;
    word[e] = low | high << 16;
  }
  *reinterpret_cast<uint4*>(to) = make_uint4(word[0], word[1], word[2], word[3]);
}

}  // namespace pumice::simt
