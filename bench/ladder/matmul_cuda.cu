// Matrix products C (M, N) = A (M, K) B (K, N), row-major. Sides are multiples of 64 here; the engine's take any, and any strides.
//
// A product of M N K multiply-adds reads its operands as often as it forgets them: 2 M N K elements if every multiply-add goes to memory, and
// M N K (1/BM + 1/BN) if a block keeps a tile of BM x BN sums and reads a row and a column of tiles for it. All rungs but the first are about a larger
// tile, at the level of memory that is the narrowest by then: global memory, shared memory, registers.
#include "ladder.h"
#include "pumice/ops/matmul/matmul.h"
#include "pumice/tensor/simt/fragments.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::ladder {
namespace {

// ---- f32 ----

// A thread per element of C, the threads of a warp down a column of it. What they read of A, and write of C, lies K and N elements apart: every lane
// touches a sector of 32 bytes for the 4 that it wants.   Grid (M / 32, N / 8).
__global__ void __launch_bounds__(256) element_down(float* c, const float* a, const float* b, int N, int K) {
  const int row = int(blockIdx.x) * 32 + int(threadIdx.x) % 32, column = int(blockIdx.y) * 8 + int(threadIdx.x) / 32;
  float sum = 0;
  for (int k = 0; k < K; ++k) { sum += a[row * K + k] * b[k * N + column]; }
  c[row * N + column] = sum;
}

// The same with the warp along a row: one number of A for all lanes, 32 neighbours of B, one full line of C.   Grid (M / 8, N / 32).
__global__ void __launch_bounds__(256) element_along(float* c, const float* a, const float* b, int N, int K) {
  const int row = int(blockIdx.x) * 8 + int(threadIdx.x) / 32, column = int(blockIdx.y) * 32 + int(threadIdx.x) % 32;
  float sum = 0;
  for (int k = 0; k < K; ++k) { sum += a[row * K + k] * b[k * N + column]; }
  c[row * N + column] = sum;
}

// A block of 1024 threads owns 32 x 32 elements and brings tiles of 32 x 32 of A and B to shared memory, where each number is used 32 times. Now the
// way out of shared memory is the narrow one: two loads per multiply-add.   Grid (M / 32, N / 32).
__global__ void __launch_bounds__(1024) shared_tile(float* c, const float* a, const float* b, int N, int K) {
  SIMT_SHARED(float, sa, [32][32]);
  SIMT_SHARED(float, sb, [32][32]);
  const int y = int(threadIdx.x) / 32, x = int(threadIdx.x) % 32, row = int(blockIdx.x) * 32 + y, column = int(blockIdx.y) * 32 + x;
  float sum = 0;
  for (int k0 = 0; k0 < K; k0 += 32) {
    sa[y][x] = a[row * K + k0 + x];
    sb[y][x] = b[(k0 + y) * N + column];
    __syncthreads();
    for (int k = 0; k < 32; ++k) { sum += sa[y][k] * sb[k][x]; }
    __syncthreads();  // the next tile goes where this one lies
  }
  c[row * N + column] = sum;
}

// A thread keeps 4 x 4 sums in registers: eight loads from shared memory for sixteen multiply-adds, and blocks of 64 x 64 that read global memory half
// as often. Its rows lie 16 apart, its columns too, so that the lanes of a warp still read neighbours.   Grid (M / 64, N / 64), 256 threads.
__global__ void __launch_bounds__(256) register_tile(float* c, const float* a, const float* b, int N, int K) {
  SIMT_SHARED(float, sa, [64][16]);
  SIMT_SHARED(float, sb, [16][64]);
  const int y = int(threadIdx.x) / 16, x = int(threadIdx.x) % 16;
  a += blockIdx.x * 64 * K;
  b += blockIdx.y * 64;
  float sum[4][4] = {};
  for (int k0 = 0; k0 < K; k0 += 16) {
    for (int i = int(threadIdx.x); i < 64 * 16; i += 256) {
      sa[i / 16][i % 16] = a[i / 16 * K + k0 + i % 16];
      sb[i / 64][i % 64] = b[(k0 + i / 64) * N + i % 64];
    }
    __syncthreads();
    SIMT_UNROLL
    for (int k = 0; k < 16; ++k) {
      float fa[4], fb[4];
      for (int i = 0; i < 4; ++i) { fa[i] = sa[y + 16 * i][k], fb[i] = sb[k][x + 16 * i]; }
      for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) { sum[i][j] += fa[i] * fb[j]; }
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) { c[(blockIdx.x * 64 + y + 16 * i) * N + blockIdx.y * 64 + x + 16 * j] = sum[i][j]; }
  }
}

// Everything 16 bytes at a time. A is turned on its way into shared memory, so that a thread's four rows are neighbours there: two loads instead of
// eight for sixteen multiply-adds.   Grid and block as before.
__global__ void __launch_bounds__(256) vector_tile(float* c, const float* a, const float* b, int N, int K) {
  SIMT_SHARED(float, sa, [16][68]);  // [k][row]; the padding spreads the turned columns over the banks
  SIMT_SHARED(float, sb, [16][68]);
  const int y = int(threadIdx.x) / 16 * 4, x = int(threadIdx.x) % 16 * 4;
  const int a_row = int(threadIdx.x) / 4, a_k = int(threadIdx.x) % 4 * 4, b_k = int(threadIdx.x) / 16, b_column = int(threadIdx.x) % 16 * 4;
  a += blockIdx.x * 64 * K;
  b += blockIdx.y * 64;
  float sum[4][4] = {};
  for (int k0 = 0; k0 < K; k0 += 16) {
    const auto from_a = simt::load_vector<4>(a + a_row * K + k0 + a_k), from_b = simt::load_vector<4>(b + (k0 + b_k) * N + b_column);
    for (int i = 0; i < 4; ++i) { sa[a_k + i][a_row] = from_a.v[i]; }
    simt::store_vector(&sb[b_k][b_column], from_b);
    __syncthreads();
    SIMT_UNROLL
    for (int k = 0; k < 16; ++k) {
      const auto fa = simt::load_vector<4>(&sa[k][y]), fb = simt::load_vector<4>(&sb[k][x]);
      for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) { sum[i][j] += fa.v[i] * fb.v[j]; }
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) {
    simt::store_vector(c + (blockIdx.x * 64 + y + i) * N + blockIdx.y * 64 + x, simt::Vector<float, 4>{{sum[i][0], sum[i][1], sum[i][2], sum[i][3]}});
  }
}

// ---- bf16, sums in f32 ----

__global__ void __launch_bounds__(256) bf16_element(bf16* c, const bf16* a, const bf16* b, int N, int K) {  // Grid (M / 8, N / 32)
  const int row = int(blockIdx.x) * 8 + int(threadIdx.x) / 32, column = int(blockIdx.y) * 32 + int(threadIdx.x) % 32;
  float sum = 0;
  for (int k = 0; k < K; ++k) { sum += float(a[row * K + k]) * float(b[k * N + column]); }
  c[row * N + column] = bf16(sum);
}

// What the three kernels on tensor cores share. A block of four warps owns 64 x 64 of C, a warp 32 x 32 of it, in steps of 32 along K; A lies in shared
// memory as [row][k], B as [k][column], as they do in memory, kPad elements more per row.
constexpr int kTile = 64, kDepth = 32, kMmaThreads = 128;
template <int kPad> inline constexpr int kStrideA = kDepth + kPad;
template <int kPad> inline constexpr int kStrideB = kTile + kPad;
template <int kPad> inline constexpr int kStage = kTile * kStrideA<kPad> + kDepth * kStrideB<kPad>;  // elements of both tiles

struct WarpSums { float v[2][4][4] = {}; };  // 2 x 4 matrices of 16 x 8
template <int kPad> __device__ __forceinline__ void multiply(WarpSums& sums, const bf16* sa, const bf16* sb) {
  const int warp = int(threadIdx.x) / 32, row = warp % 2 * 32, column = warp / 2 * 32;
  for (int k = 0; k < kDepth; k += 16) {
    for (int i = 0; i < 2; ++i) {
      simt::Fragment a, b;
      simt::load_a(a, sa, kStrideA<kPad>, row + 16 * i, k);
      for (int j = 0; j < 2; ++j) {
        simt::load_b_transposed(b, sb, kStrideB<kPad>, column + 16 * j, k);
        simt::multiply_pair(sums.v[i][2 * j], sums.v[i][2 * j + 1], a, b);
      }
    }
  }
}
__device__ __forceinline__ void store(bf16* c, const WarpSums& sums, int N) {  // c: the block's tile
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, row = warp % 2 * 32 + lane / 4, column = warp / 2 * 32 + lane % 4 * 2;
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 4; ++j) {
      const float(&v)[4] = sums.v[i][j];
      for (int h = 0; h < 2; ++h) {
        *reinterpret_cast<uint32_t*>(c + (row + 16 * i + 8 * h) * N + column + 8 * j) = simt::pack_bf16(v[2 * h], v[2 * h + 1]);
      }
    }
  }
}
// f(to, from) for each 16 bytes of the tiles of A and B at depth k0 that this thread copies.
template <int kPad, class F> __device__ __forceinline__ void each_chunk(bf16* stage, const bf16* a, const bf16* b, int N, int K, int k0, const F& f) {
  bf16* sb = stage + kTile * kStrideA<kPad>;
  for (int i = int(threadIdx.x) * 8; i < kTile * kDepth; i += kMmaThreads * 8) {
    f(stage + i / kDepth * kStrideA<kPad> + i % kDepth, a + i / kDepth * K + k0 + i % kDepth);
    f(sb + i / kTile * kStrideB<kPad> + i % kTile, b + (k0 + i / kTile) * N + i % kTile);
  }
}

// Tensor cores: mma.sync multiplies 16 x 16 by 16 x 8 in one instruction of a warp. With kPad 0, rows of A are 64 bytes apart and rows of B 128: ldmatrix
// reads eight rows at once, which then lie in the same banks. Eight elements more per row spread them.   Grid (M / 64, N / 64).
template <int kPad> __global__ void __launch_bounds__(kMmaThreads) mma_tile(bf16* c, const bf16* a, const bf16* b, int N, int K) {
  SIMT_SHARED(bf16, stage, [kStage<kPad>]);
  a += blockIdx.x * kTile * K;
  b += blockIdx.y * kTile;
  WarpSums sums;
  for (int k0 = 0; k0 < K; k0 += kDepth) {
    each_chunk<kPad>(stage, a, b, N, K, k0, [](bf16* to, const bf16* from) { simt::store_vector(to, simt::load_vector<8>(from)); });
    __syncthreads();
    multiply<kPad>(sums, stage, stage + kTile * kStrideA<kPad>);
    __syncthreads();
  }
  store(c + blockIdx.x * kTile * N + blockIdx.y * kTile, sums, N);
}

// cp.async brings the next tiles while these are multiplied: the way to memory is hidden, no register holds what is on its way, and a step has one
// barrier instead of two.   Grid as before.
__global__ void __launch_bounds__(kMmaThreads) mma_two_stages(bf16* c, const bf16* a, const bf16* b, int N, int K) {
  SIMT_SHARED(bf16, stages, [2][kStage<8>]);
  a += blockIdx.x * kTile * K;
  b += blockIdx.y * kTile;
  auto fill = [&](int k0) {
    each_chunk<8>(stages[k0 / kDepth % 2], a, b, N, K, k0, [](bf16* to, const bf16* from) { simt::cp_async16(to, from); });
    simt::cp_async_commit();
  };
  WarpSums sums;
  fill(0);
  for (int k0 = 0; k0 < K; k0 += kDepth) {
    simt::cp_async_wait<0>();
    __syncthreads();  // this stage has arrived for everyone, and everyone is done with the other one
    if (k0 + kDepth < K) { fill(k0 + kDepth); }
    const bf16* stage = stages[k0 / kDepth % 2];
    multiply<8>(sums, stage, stage + kTile * kStrideA<8>);
  }
  store(c + blockIdx.x * kTile * N + blockIdx.y * kTile, sums, N);
}

// ---- the ladders ----

struct Operands { Tensor a, b, out; int M, N, K; };
Operands operands(DType dtype, int side) {
  return {values({side, side}, dtype, 1), values({side, side}, dtype, 2), empty({side, side}, dtype, Device::cuda()), side, side, side};
}

template <auto kernel, class T> std::function<Tensor()> rung(const Operands& o, int tile_rows, int tile_columns, int threads) {
  return [=] {
    simt::launch<kernel>({.grid = {unsigned(o.M / tile_rows), unsigned(o.N / tile_columns)}, .block = unsigned(threads)}, o.out.data<T>(), o.a.data<T>(),
                         o.b.data<T>(), o.N, o.K);
    return o.out;
  };
}

Ladder ladder_of(const char* dtype, const Operands& o, double bound, std::vector<Rung> rungs) {
  Ladder l{.name = std::string("matmul ") + dtype + " " + std::to_string(o.M) + " x " + std::to_string(o.N) + " x " + std::to_string(o.K),
           .bytes = double(size_of(o.a.dtype())) * (double(o.M) * o.K + double(o.K) * o.N + double(o.M) * o.N), .flops = 2.0 * o.M * o.N * o.K,
           .multiplies = o.a.dtype(), .bound = bound, .rows = o.M, .columns = o.N, .out = o.out};
  l.reference = [a = o.a.to_vector<float>(), b = o.b.to_vector<float>(), N = size_t(o.N), K = size_t(o.K)](int64_t row) {
    std::vector<double> c(N);
    for (size_t k = 0; k < K; ++k) {
      for (size_t j = 0; j < N; ++j) { c[j] += double(a[size_t(row) * K + k]) * double(b[k * N + j]); }
    }
    return c;
  };
  l.rungs = std::move(rungs);
  l.rungs.push_back({"the engine", o.a.dtype() == DType::f32
                         ? "tiles of 128 x 128 where there are enough, two buffers, any strides, long depths in parts: ops/matmul/fma_tile_cuda.h"
                         : "a ring of four stages, whole rows stored by way of shared memory, any strides: ops/matmul/mma_tile_cuda.h",
                     [o] { return matmul(o.a, o.b); }});
  return l;
}

}  // namespace

Ladder matmul_f32(bool large) {
  const Operands o = operands(DType::f32, large ? 4096 : 128);
  return ladder_of("f32", o, 1e-6, {
      {"element, warp down", "a thread per element of C; a warp's lanes read rows of A that lie far apart", rung<element_down, float>(o, 32, 8, 256)},
      {"element, warp along", "lanes are neighbours in memory: whole sectors are used", rung<element_along, float>(o, 8, 32, 256)},
      {"shared tile", "32 x 32 tiles in shared memory: global memory is read a thirty-second as often", rung<shared_tile, float>(o, 32, 32, 1024)},
      {"register tile", "4 x 4 sums per thread: a quarter of the loads from shared memory", rung<register_tile, float>(o, 64, 64, 256)},
      {"16 bytes at once", "four numbers per load, A turned in shared memory: a quarter of the load instructions", rung<vector_tile, float>(o, 64, 64, 256)},
  });
}

Ladder matmul_bf16(bool large) {
  const Operands o = operands(DType::bf16, large ? 4096 : 128);
  return ladder_of("bf16", o, 5e-3, {  // half a unit of bf16's last place is 0.2 %
      {"element", "a thread per element of C, in plain multiply-adds", rung<bf16_element, bf16>(o, 8, 32, 256)},
      {"tensor cores", "mma.sync on tiles of 64 x 64 in shared memory", rung<mma_tile<0>, bf16>(o, kTile, kTile, kMmaThreads)},
      {"padded rows", "16 bytes more per row of shared memory: ldmatrix finds its eight rows in different banks",
       rung<mma_tile<8>, bf16>(o, kTile, kTile, kMmaThreads)},
      {"cp.async", "the next tiles arrive while these are multiplied; one barrier per step", rung<mma_two_stages, bf16>(o, kTile, kTile, kMmaThreads)},
  });
}

}  // namespace pumice::ladder
