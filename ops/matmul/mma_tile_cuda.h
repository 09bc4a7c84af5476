// The bf16 tile of CUDA products: tensor cores through mma.sync, operands through a ring of shared memory filled by cp.async.
#pragma once
#include "pumice/ops/matmul/tile_cuda.h"
#include "pumice/tensor/simt/fragments.h"

namespace pumice::cuda {

// C (kRows, kColumns) = A B over any depth, by warps of 64 x 32 or 32 x 32 of C each. Per step of 32 along depth a block reads
// (kRows + kColumns) 64 bytes and multiplies kRows kColumns 64 FLOP: 128 x 128 does 64 FLOP per byte of L2, 64 x 64 does 32.
// Shared tiles keep the order of memory, so that every copy is a 16-byte chunk: [line][depth] is read by ldmatrix, [depth][line] by
// ldmatrix.trans.
template <int Rows, int Columns, bool ADepthMajor, bool BDepthMajor> struct MmaTile {
  using Element = bf16;
  static constexpr int kRows = Rows, kColumns = Columns, kDepth = 32, kStages = 4;
  static constexpr int kWarpRows = Rows / 2, kWarpColumns = 32, kWarps = 2 * (Columns / kWarpColumns), kThreads = kWarps * 32;
  static constexpr int kBlocksPerProcessor = Rows == 128 ? 2 : 4;
  static constexpr int kMatricesM = kWarpRows / 16, kMatricesN = kWarpColumns / 8;

  template <int kLines, bool kDepthMajor> struct Shared {
    static constexpr int kStride = (kDepthMajor ? kDepth : kLines) + 8, kElements = (kDepthMajor ? kLines : kDepth) * kStride;
  };
  using SharedA = Shared<kRows, ADepthMajor>;
  using SharedB = Shared<kColumns, BDepthMajor>;
  static constexpr int kStage = SharedA::kElements + SharedB::kElements;
  static constexpr size_t kRingBytes = size_t(kStages) * kStage * sizeof(bf16), kSumsBytes = kRows * kSumsStride<kColumns> * sizeof(float);
  static constexpr size_t kSharedBytes = kRingBytes > kSumsBytes ? kRingBytes : kSumsBytes;

  // Depths [k0, k0 + kDepth) of a panel into shared memory; what does not exist becomes zero.
  template <int kLines, bool kDepthMajor> static __device__ __forceinline__ void load(bf16* tile, const Panel<bf16>& p, int64_t k0, int64_t depth) {
    constexpr int kPerRow = (kDepthMajor ? kDepth : kLines) / 8, kChunks = kLines * kDepth / 8;
    static_assert(kChunks % kThreads == 0);
    SIMT_UNROLL
    for (int i = 0; i < kChunks / kThreads; ++i) {
      const int chunk = i * kThreads + int(threadIdx.x), row = chunk / kPerRow, along = chunk % kPerRow * 8;
      bf16* to = tile + row * Shared<kLines, kDepthMajor>::kStride + along;
      const auto from = kDepthMajor ? chunk_of<8>(p, true, row, k0 + along, depth) : chunk_of<8>(p, false, along, k0 + row, depth);
      if (p.vector) { simt::cp_async16(to, from.data, from.count * 2); }
      else { simt::gather_chunk(to, from.data, from.step, from.count); }
    }
  }

  static __device__ __forceinline__ void load_fragment_a(simt::Fragment& r, const bf16* tile, int line, int k) {
    if constexpr (ADepthMajor) { simt::load_a(r, tile, SharedA::kStride, line, k); }
    else { simt::load_a_transposed(r, tile, SharedA::kStride, line, k); }
  }
  static __device__ __forceinline__ void load_fragment_b(simt::Fragment& r, const bf16* tile, int line, int k) {
    if constexpr (BDepthMajor) { simt::load_b(r, tile, SharedB::kStride, line, k); }
    else { simt::load_b_transposed(r, tile, SharedB::kStride, line, k); }
  }

  using Sums = float[kMatricesM][kMatricesN][4];
  static __device__ __forceinline__ void multiply(Sums& sums, const bf16* a, const bf16* b, int m0, int n0) {
    SIMT_UNROLL
    for (int k = 0; k < kDepth; k += 16) {
      simt::Fragment fa[kMatricesM], fb[kMatricesN / 2];
      SIMT_UNROLL
      for (int i = 0; i < kMatricesM; ++i) { load_fragment_a(fa[i], a, m0 + i * 16, k); }
      SIMT_UNROLL
      for (int j = 0; j < kMatricesN / 2; ++j) { load_fragment_b(fb[j], b, n0 + j * 16, k); }
      SIMT_UNROLL
      for (int i = 0; i < kMatricesM; ++i) {
        SIMT_UNROLL
        for (int j = 0; j < kMatricesN / 2; ++j) { simt::multiply_pair(sums[i][2 * j], sums[i][2 * j + 1], fa[i], fb[j]); }
      }
    }
  }

  // Called by the whole block, once. out(): the Output, made when it is wanted, so that it takes no registers before.
  template <class Out> static __device__ __forceinline__ void run(const Panel<bf16>& a, const Panel<bf16>& b, int64_t depth, const Out& out) {
    SIMT_DYN_SHARED(bf16, ring);
    const int warp = int(threadIdx.x) >> 5, lane = int(threadIdx.x) & 31;
    const int m0 = warp % 2 * kWarpRows, n0 = warp / 2 * kWarpColumns;
    const int64_t steps = (depth + kDepth - 1) / kDepth;
    auto fill = [&](int64_t step) {  // every step commits a group, an empty one past the end, so that counting groups counts steps
      if (step < steps) {
        bf16* stage = ring + step % kStages * kStage;
        load<kRows, ADepthMajor>(stage, a, step * kDepth, depth);
        load<kColumns, BDepthMajor>(stage + SharedA::kElements, b, step * kDepth, depth);
      }
      simt::cp_async_commit();
    };
    Sums sums = {};
    for (int s = 0; s < kStages - 1; ++s) { fill(s); }
    for (int64_t step = 0; step < steps; ++step) {
      simt::cp_async_wait<kStages - 2>();
      __syncthreads();  // this step has arrived for everyone, and everyone is done with the stage that is filled next
      fill(step + kStages - 1);
      const bf16* stage = ring + step % kStages * kStage;
      multiply(sums, stage, stage + SharedA::kElements, m0, n0);
    }
    __syncthreads();
    float* shared_sums = reinterpret_cast<float*>(ring);
    SIMT_UNROLL
    for (int i = 0; i < kMatricesM; ++i) {
      SIMT_UNROLL
      for (int j = 0; j < kMatricesN; ++j) {
        float* to = shared_sums + (m0 + i * 16 + lane / 4) * kSumsStride<kColumns> + n0 + j * 8 + lane % 4 * 2;
        simt::store_vector(to, simt::Vector<float, 2>{{sums[i][j][0], sums[i][j][1]}});
        simt::store_vector(to + 8 * kSumsStride<kColumns>, simt::Vector<float, 2>{{sums[i][j][2], sums[i][j][3]}});
      }
    }
    __syncthreads();
    out().template store<kColumns, kThreads>(shared_sums);
  }
};

}  // namespace pumice::cuda
