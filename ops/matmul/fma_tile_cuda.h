// The f32 tile of CUDA products: plain multiply-adds in f32, because the engine's f32 is IEEE's and not tf32.
#pragma once
#include "pumice/ops/matmul/tile_cuda.h"

namespace pumice::cuda {

// C (kSide, kSide) = A B over any depth by 256 threads, each with a square of 8 x 8 (side 128) or 4 x 4 (side 64) elements of C, as quads of
// 4 x 4 that lie 64 apart: the lanes of a warp then read neighbouring quads. Both operands lie in shared memory as [depth][line], two
// buffers of 16 depths; the next 16 travel to registers while these are multiplied. One block of side 128 per processor: 1024 multiply-adds of each
// of two warps per scheduler pass between barriers, more than the way to memory takes.
template <int kSide> struct FmaTile {
  using Element = float;
  static constexpr int kRows = kSide, kColumns = kSide, kDepth = 16, kThreads = 256, kBlocksPerProcessor = kSide == 128 ? 1 : 2;
  static constexpr int kQuads = kSide / 64, kStride = kSide + 4, kBuffer = kDepth * kStride, kChunks = kSide * kDepth / 4 / kThreads;
  static constexpr size_t kBuffersBytes = 4 * kBuffer * sizeof(float), kSumsBytes = kSide * kSumsStride<kSide> * sizeof(float);
  static constexpr size_t kSharedBytes = kBuffersBytes > kSumsBytes ? kBuffersBytes : kSumsBytes;

  struct Place { int line, depth; };  // of a thread's chunk i of four elements
  static __device__ __forceinline__ Place place_of(int i, bool depth_major) {
    const int chunk = i * kThreads + int(threadIdx.x);
    return depth_major ? Place{chunk / (kDepth / 4), chunk % (kDepth / 4) * 4} : Place{chunk % (kSide / 4) * 4, chunk / (kSide / 4)};
  }
  using Four = simt::Vector<float, 4>;
  static __device__ __forceinline__ void fetch(Four (&held)[kChunks], const Panel<float>& p, int64_t k0, int64_t depth) {
    SIMT_UNROLL
    for (int i = 0; i < kChunks; ++i) {
      const Place at = place_of(i, p.depth_major);
      const auto from = chunk_of<4>(p, p.depth_major, at.line, k0 + at.depth, depth);
      if (p.vector && from.count == 4) {
        held[i] = simt::load_vector<4>(from.data);
      } else {
        SIMT_UNROLL
        for (int e = 0; e < 4; ++e) { held[i].v[e] = e < from.count ? from.data[e * from.step] : 0.0f; }
      }
    }
  }
  static __device__ __forceinline__ void put(float* buffer, const Four (&held)[kChunks], bool depth_major) {
    SIMT_UNROLL
    for (int i = 0; i < kChunks; ++i) {
      const Place at = place_of(i, depth_major);
      float* to = buffer + at.depth * kStride + at.line;
      if (depth_major) {
        SIMT_UNROLL
        for (int e = 0; e < 4; ++e) { to[e * kStride] = held[i].v[e]; }
      } else {
        simt::store_vector(to, held[i]);
      }
    }
  }

  using Sums = float[kQuads][kQuads][4][4];
  static __device__ __forceinline__ void multiply(Sums& sums, const float* a, const float* b, int m0, int n0) {
    SIMT_UNROLL
    for (int k = 0; k < kDepth; ++k) {
      Four fa[kQuads], fb[kQuads];
      SIMT_UNROLL
      for (int q = 0; q < kQuads; ++q) {
        fa[q] = simt::load_vector<4>(a + k * kStride + q * 64 + m0);
        fb[q] = simt::load_vector<4>(b + k * kStride + q * 64 + n0);
      }
      SIMT_UNROLL
      for (int q = 0; q < kQuads; ++q) {
        SIMT_UNROLL
        for (int r = 0; r < kQuads; ++r) {
          SIMT_UNROLL
          for (int i = 0; i < 4; ++i) {
            SIMT_UNROLL
            for (int j = 0; j < 4; ++j) { sums[q][r][i][j] += fa[q].v[i] * fb[r].v[j]; }
          }
        }
      }
    }
  }

  // Called by the whole block, once. out(): the Output, made when it is wanted, so that it takes no registers before.
  template <class Out> static __device__ __forceinline__ void run(const Panel<float>& a, const Panel<float>& b, int64_t depth, const Out& out) {
    SIMT_DYN_SHARED(float, shared);
    const int m0 = int(threadIdx.x) / 16 * 4, n0 = int(threadIdx.x) % 16 * 4;
    Four held_a[kChunks], held_b[kChunks];
    Sums sums = {};
    fetch(held_a, a, 0, depth);
    fetch(held_b, b, 0, depth);
    int buffer = 0;
    for (int64_t k0 = 0; k0 < depth; k0 += kDepth, buffer ^= 1) {
      float *sa = shared + buffer * 2 * kBuffer, *sb = sa + kBuffer;
      put(sa, held_a, a.depth_major);
      put(sb, held_b, b.depth_major);
      __syncthreads();  // two buffers: whoever writes this one again has passed the barrier between, so its readers are done
      if (k0 + kDepth < depth) {
        fetch(held_a, a, k0 + kDepth, depth);
        fetch(held_b, b, k0 + kDepth, depth);
      }
      multiply(sums, sa, sb, m0, n0);
    }
    __syncthreads();
    SIMT_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      SIMT_UNROLL
      for (int i = 0; i < 4; ++i) {
        SIMT_UNROLL
        for (int r = 0; r < kQuads; ++r) {
          const float(&v)[4] = sums[q][r][i];
          simt::store_vector(shared + (q * 64 + m0 + i) * kSumsStride<kColumns> + r * 64 + n0, Four{{v[0], v[1], v[2], v[3]}});
        }
      }
    }
    __syncthreads();
    out().template store<kColumns, kThreads>(shared);
  }
};

}  // namespace pumice::cuda
