// Packed GEMM after Goto and van de Geijn 2008 ("Anatomy of High-Performance Matrix Multiplication"): panels of B and blocks of A
// are copied into the order in which the register tile reads them, converted to the accumulator type on the way, or in pairs of bf16.
//
// While the registers multiply, memory is asked for what comes next (Ahead): left to the hardware's prefetchers, products of depth 128 take 3 to
// 12 % longer.
//
// Three ways to cut the work, chosen by shape alone:
//   by tiles of C   B is packed once by all threads, or, of many products, by the task that needs it; then each task packs its rows of A and runs over
//                   the full depth, a strip of a tile's rows at a time: finished sums are stored while they are hot
//   by depth        for a small C and a long K (weight gradients): each task multiplies a range of K into a partial C of its own,
//                   and the partials are added in order
//   by columns      for a few rows of A against rows of B^T, as in generation: B is read once where it lies, and nothing is packed
#include "pumice/ops/matmul/gemm_cpu.h"

#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/matmul/pack_cpu.h"
#include "pumice/ops/matmul/store_cpu.h"
#include "pumice/tensor/isa.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int64_t kDepth = 512;           // of a packed block
constexpr int64_t kRows = 112;            // of a task's block of A, about
constexpr int64_t kManyRows = 1024;       // the same of a task that packs B for itself
constexpr int64_t kTasks = 16;            // of a product at least, where it has the rows
constexpr int64_t kSplitDepth = 512;      // of a task in the cut by depth
constexpr int64_t kResident = 512 << 10;  // bytes of packed B that stay in the second-level cache
constexpr int kScratchB = 0, kScratchA = 1, kScratchTile = 2, kScratchPartial = 3, kScratchPlan = 4, kScratchProducts = 6;

// tile (+)= a block of A, MR rows, times a panel of B.
template <class P, class Rows>
PUMICE_INLINE void multiply_panel(bool accumulate, int64_t deep, const Rows& a, const typename P::Word* b, typename P::Sum* tile, int64_t ld) {
  constexpr int64_t NR = kTileCols<typename P::Sum>;
  if constexpr (P::kTiles) {
    static_assert(NR == P::kRows, "a square of C");
    if (accumulate) { P::template multiply<true>(deep, a.p, a.row, b, tile, ld); }
    else { P::template multiply<false>(deep, a.p, a.row, b, tile, ld); }
  } else if (accumulate) {
    P::template tile<P::kRows, 2, true>(deep, a, b, NR, tile, ld);
  } else {
    P::template tile<P::kRows, 2, false>(deep, a, b, NR, tile, ld);
  }
}

// Asks memory for a block of a matrix before it is packed or stored to, a part at a time.
struct Ahead {
  const char* row = nullptr;
  int64_t stride = 0, lines = 1, line = 0, left = 0, part = 0;  // cache lines: of a row of memory, asked for of this row, left of the block, of a part
  Ahead() = default;
  // `count` lines of `depth` elements with strides `across` and `along`, in `parts` parts. Nothing is asked for where neither is 1.
  template <class T>
  Ahead(const T* p, int64_t across, int64_t along, int64_t count, int64_t depth, int64_t parts) : row(reinterpret_cast<const char*>(p)) {
    if (count <= 0 || depth <= 0 || (across != 1 && along != 1)) { return; }
    const bool dense = along == 1;
    stride = (dense ? across : along) * int64_t(sizeof(T));
    lines = ceil_div((dense ? depth : count) * int64_t(sizeof(T)), 64);
    left = (dense ? count : depth) * lines;
    part = ceil_div(left, parts);
  }
  template <bool kToWrite> PUMICE_INLINE void ask() {
    const int64_t now = minimum(left, part);
    left -= now;
    for (int64_t i = 0; i < now; ++i) {
      __builtin_prefetch(row + line * 64, kToWrite, 2);
      if (++line == lines) {
        line = 0;
        row += stride;
      }
    }
  }
  PUMICE_INLINE void read() { ask<false>(); }
  PUMICE_INLINE void write() { ask<true>(); }
};

// The depth of blocks that are equal and at most `most` deep.
PUMICE_INLINE int64_t even_block(int64_t depth, int64_t most, int64_t deep) {
  return maximum(1, ceil_div(ceil_div(depth, maximum(1, ceil_div(depth, most))), deep)) * deep;
}

struct Plan {
  int64_t row_tasks, rows;      // tasks along M and rows of each, a multiple of kTileRows
  int64_t col_tasks, cols;      // tasks along N and columns of each, a multiple of the tile's
  int64_t first_task;           // among all products
  int64_t packed_b;             // offset of this product's packed B
  int64_t splits;               // tasks along K in the cut by depth
  bool own_b;                   // each task packs its columns of B for itself: they stay in its caches
};

template <class P> Plan plan_of(const Product& p, int64_t count, bool split) {
  const int64_t least = ceil_div(kTasks, count);
  constexpr int64_t MR = P::kRows, NR = kTileCols<typename P::Sum>, kBlock = kDepth * P::kDeep;
  Plan plan{};
  if (split) {
    plan.splits = p.M && p.N ? maximum(1, minimum(least, ceil_div(p.K, kSplitDepth))) : 0;  // an expert without rows has nothing to do
    return plan;
  }
  plan.own_b = least == 1 && p.K <= kBlock;
  plan.row_tasks = ceil_div(p.M, plan.own_b ? kManyRows : kRows);
  if (plan.row_tasks < least) { plan.row_tasks = minimum(least, ceil_div(p.M, 2 * MR)); }  // finer, so that threads end together
  plan.rows = plan.row_tasks ? ceil_div(ceil_div(p.M, plan.row_tasks), MR) * MR : MR;
  plan.row_tasks = ceil_div(p.M, plan.rows);
  plan.col_tasks = ceil_div(p.N, 1024);
  plan.cols = plan.col_tasks ? ceil_div(ceil_div(p.N, plan.col_tasks), NR) * NR : NR;
  plan.col_tasks = ceil_div(p.N, plan.cols);
  return plan;
}

template <class T, class P, class C> void by_tiles(const Product* products, int64_t count) {
  using A = typename P::Sum;
  using E = typename P::Word;
  constexpr int64_t MR = P::kRows, NR = kTileCols<A>, kBlock = kDepth * P::kDeep;
  Plan* plans = scratch<Plan>(kScratchPlan, count);
  int64_t tasks = 0, packed = 0, panels = 0;
  for (int64_t g = 0; g < count; ++g) {
    const Product& p = products[g];
    plans[g] = plan_of<P>(p, count, false);
    plans[g].first_task = tasks;
    plans[g].packed_b = packed;
    tasks += plans[g].row_tasks * plans[g].col_tasks;
    const int64_t shared = plans[g].row_tasks && !plans[g].own_b ? ceil_div(p.N, NR) : 0;
    packed += ceil_div(p.K, P::kDeep) * shared * NR;
    panels += shared;
  }
  E* packed_b = scratch<E>(kScratchB, packed + 1);
  // Panels of all products in one sequence; a panel holds the full depth, block after block.
  parallel_for(panels, 4, [&](int64_t begin, int64_t end) {
    int64_t g = 0, base = 0;
    for (int64_t panel = begin; panel < end; ++panel) {
      for (;; ++g) {
        int64_t here = plans[g].row_tasks && !plans[g].own_b ? ceil_div(products[g].N, NR) : 0;
        if (panel < base + here) { break; }
        base += here;
      }
      const Product& p = products[g];
      int64_t j = (panel - base) * NR;
      pack_b<T, P>(p, 0, p.K, j, minimum(NR, p.N - j), packed_b + plans[g].packed_b + j * ceil_div(p.K, P::kDeep));
    }
  });
  parallel_blocks(tasks, [&](int64_t task) {
    int64_t g = 0;
    while (g + 1 < count && task >= plans[g + 1].first_task) { ++g; }
    const Product& p = products[g];
    const Plan& plan = plans[g];
    int64_t local = task - plan.first_task, i0 = local / plan.col_tasks * plan.rows, j0 = local % plan.col_tasks * plan.cols;
    int64_t height = minimum(plan.rows, p.M - i0), width = minimum(plan.cols, p.N - j0);
    int64_t padded_height = ceil_div(height, MR) * MR, ld = ceil_div(width, NR) * NR;
    const int64_t whole = lies_ready<T, P>(p) ? height / MR * MR : 0;  // rows that are read where they are
    const int64_t group = p.a_row == 1 && whole == 0 ? kTogether * MR : MR;  // rows that are packed at once
    const int64_t words = ceil_div(p.K, P::kDeep);  // of the whole depth
    const int64_t resident = maximum(kResident / (minimum(kDepth, words + 1) * NR * int64_t(sizeof(E))), 1) * NR;  // columns of B
    const bool passes = ld > resident;  // rows of A are needed again for the next columns
    const bool once = p.K <= kBlock;  // else sums wait in `tile` for the next block of depth
    const int64_t block = even_block(p.K, kBlock, P::kDeep);
    A* tile = scratch<A>(kScratchTile, (once ? MR : padded_height) * ld);
    const E* columns_of_b = packed_b + plan.packed_b + j0 * words;
    if (plan.own_b) {
      E* own = scratch<E>(kScratchPartial, words * ld);
      pack_b<T, P>(p, 0, p.K, j0, width, own);
      columns_of_b = own;
    }
    for (int64_t k0 = 0; k0 < p.K || k0 == 0; k0 += block) {  // once for K = 0, whose sums are zero
      const int64_t depth = minimum(block, p.K - k0), deep = ceil_div(depth, P::kDeep);
      const bool last = k0 + depth == p.K;
      const T* rows = static_cast<const T*>(p.a) + i0 * p.a_row + k0 * p.a_col;
      E* packed_a = scratch<E>(kScratchA, (passes ? padded_height - whole : group) * deep);
      for (int64_t j1 = 0; j1 < ld; j1 += resident) {
        const int64_t j2 = minimum(ld, j1 + resident), panels = (j2 - j1) / NR, columns = minimum(j2, width) - j1;
        Ahead next;
        for (int64_t i = 0; i < padded_height; i += MR) {
          const int64_t strip = minimum(MR, height - i);
          A* sums = tile + (once ? 0 : i * ld);
          E* strip_of_a = packed_a + (passes ? i - whole : i % group) * deep;
          Ahead out;
          if (j1 == 0 && i % group == 0) {
            const int64_t now = minimum(group, height - i), after = i + now;
            if (i >= whole) { pack_a<T, P>(rows + i * p.a_row, p.a_row, p.a_col, now, depth, strip_of_a); }
            const bool deeper = after == height && !last;  // what is packed next: the first rows of the next block of depth, or further rows
            next = Ahead(deeper ? rows + depth * p.a_col : rows + after * p.a_row, p.a_row, p.a_col, minimum(group, deeper ? height : p.M - i0 - after),
                         deeper ? minimum(block, p.K - k0 - depth) : depth, panels * ceil_div(now, MR));
          }
          if (last) { out = Ahead(static_cast<const C*>(p.c) + (i0 + i) * p.c_row + (j0 + j1) * p.c_col, p.c_row, p.c_col, strip, columns, panels); }
          for (int64_t j = j1; j < j2; j += NR) {
            const E* b = columns_of_b + j * words + k0 / P::kDeep * NR;
            next.read();
            out.write();
            if (i < whole) { multiply_panel<P>(k0 > 0, deep, dense_rows<P>(rows + i * p.a_row, p.a_row * int64_t(sizeof(T))), b, sums + j, ld); }
            else { multiply_panel<P>(k0 > 0, deep, packed_rows<P>(strip_of_a, deep), b, sums + j, ld); }
          }
          if (last) { store<A, C>(p, i0 + i, strip, j0 + j1, columns, sums + j1, ld); }
        }
      }
    }
  });
}

template <class T, class P, class C> void by_depth(const Product* products, int64_t count) {
  using A = typename P::Sum;
  using E = typename P::Word;
  constexpr int64_t MR = P::kRows, NR = kTileCols<A>;
  constexpr int64_t kBlock = 256 * P::kDeep;  // depth packed at once: both operands stay in the second-level cache
  Plan* plans = scratch<Plan>(kScratchPlan, count);
  int64_t tasks = 0, space = 0;
  for (int64_t g = 0; g < count; ++g) {
    const Product& p = products[g];
    plans[g] = plan_of<P>(p, count, true);
    plans[g].first_task = tasks;
    plans[g].packed_b = space;  // of its partial sums
    tasks += plans[g].splits;
    space += plans[g].splits > 1 ? plans[g].splits * ceil_div(p.M, MR) * MR * ceil_div(p.N, NR) * NR : 0;
  }
  A* partial = scratch<A>(kScratchPartial, space + 1);
  parallel_blocks(tasks, [&](int64_t task) {
    int64_t g = 0;
    while (g + 1 < count && task >= plans[g + 1].first_task) { ++g; }
    const Product& p = products[g];
    int64_t s = task - plans[g].first_task, length = ceil_div(p.K, plans[g].splits), k_end = minimum(p.K, (s + 1) * length);
    int64_t height = ceil_div(p.M, MR) * MR, ld = ceil_div(p.N, NR) * NR;
    const bool whole = plans[g].splits == 1;  // C is this task's alone, and stored while its sums are hot
    A* tile = whole ? scratch<A>(kScratchB, height * ld) : partial + plans[g].packed_b + s * height * ld;
    bool first = true;
    const int64_t block = even_block(k_end - s * length, kBlock, P::kDeep);
    for (int64_t k0 = s * length; k0 < k_end; k0 += block, first = false) {
      const int64_t depth = minimum(block, k_end - k0), deep = ceil_div(depth, P::kDeep);
      E* a = scratch<E>(kScratchA, height * deep);
      E* b = scratch<E>(kScratchTile, ld * deep);
      const T *from_a = static_cast<const T*>(p.a) + k0 * p.a_col, *from_b = static_cast<const T*>(p.b) + k0 * p.b_row;
      pack_a<T, P>(from_a, p.a_row, p.a_col, p.M, depth, a);
      pack<T, P, NR>(from_b, p.b_col, p.b_row, p.N, depth, b);
      const int64_t more = minimum(block, k_end - k0 - depth), parts = height / MR * (ld / NR);
      Ahead next_a(from_a + depth * p.a_col, p.a_row, p.a_col, p.M, more, parts);
      Ahead next_b(from_b + depth * p.b_row, p.b_col, p.b_row, p.N, more, parts);
      for (int64_t j = 0; j < ld; j += NR) {
        for (int64_t i = 0; i < height; i += MR) {
          next_a.read();
          next_b.read();
          multiply_panel<P>(!first, deep, packed_rows<P>(a + i * deep, deep), b + j * deep, tile + i * ld + j, ld);
        }
      }
    }
    if (first) { for (int64_t i = 0; i < height * ld; ++i) { tile[i] = 0; } }
    if (whole) { store<A, C>(p, 0, p.M, 0, p.N, tile, ld); }
  });
  for (int64_t g = 0; g < count; ++g) {
    if (plans[g].splits == 1) { continue; }
    const Product& p = products[g];
    int64_t height = ceil_div(p.M, MR) * MR, ld = ceil_div(p.N, NR) * NR;
    A* sum = partial + plans[g].packed_b;
    parallel_for(p.M, grain_for(p.N * (plans[g].splits + 1)), [&](int64_t begin, int64_t end) {
      for (int64_t s = 1; s < plans[g].splits; ++s) {
        const A* other = sum + s * height * ld;
        for (int64_t i = begin * ld; i < end * ld; ++i) { sum[i] += other[i]; }
      }
      store<A, C>(p, begin, end - begin, 0, p.N, sum + begin * ld, ld);
    });
  }
}

bool cut_by_columns(const Product* products, int64_t count) {
  for (int64_t g = 0; g < count; ++g) {
    const Product& p = products[g];
    if (p.M > kFewRows || (p.b_row != 1 && p.K > 1) || p.N < 16 || Epilogue::reads_c(p.epilogue)) { return false; }
  }
  return true;
}

// The next vector of B in the accumulator type.
template <class A> PUMICE_INLINE typename VectorOf<A>::type load_vector(const A* p) { return *reinterpret_cast<const typename VectorOf<A>::type*>(p); }
PUMICE_INLINE typename VectorOf<float>::type load_vector(const bf16* p) {
  typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
#if defined(PUMICE_ISA_IS_avx512)  // g++ 12 makes two halves of __builtin_convertvector; unmasked, its intrinsic warns
  const Words words = Words(_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p))));
#else
  typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
  const Words words = __builtin_convertvector(*reinterpret_cast<const Halves*>(p), Words);
#endif
  return reinterpret_cast<typename VectorOf<float>::type>(words << 16);
}

// Columns [j0, j1) of rows [i0, i0 + M) of C: dot products of rows of A, in `a` (M, K), with columns of B that are dense along K. Products are summed in
// kDots lanes whatever the vector, so that every instruction set adds in one order.
constexpr int kDots = 32;
constexpr int64_t kStretch = 262144;  // bytes
template <int M, class T, class A, class C> void few_rows(const Product& p, const A* a, int64_t i0, int64_t j0, int64_t j1) {
  using V = typename VectorOf<A>::type;
  constexpr int W = kVector<A>, NV = kDots / W;
  const A* bias = static_cast<const A*>(p.bias);
  for (int64_t j = j0; j < j1; ++j) {
    const T* b = static_cast<const T*>(p.b) + j * p.b_col;
    V sums[M][NV] = {};
    int64_t k = 0;
    for (; k + kDots <= p.K; k += kDots) {
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) {
        const V column = load_vector(b + k + v * W);
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) { sums[m][v] += load_vector(a + m * p.K + k + v * W) * column; }
      }
    }
    for (int m = 0; m < M; ++m) {
      A lane[kDots];
      for (int v = 0; v < NV; ++v) { *reinterpret_cast<V*>(lane + v * W) = sums[m][v]; }
      for (int64_t i = k; i < p.K; ++i) { lane[i - k] += a[m * p.K + i] * A(b[i]); }
      const A sum = lane_sum<A>(kDots, [&](int64_t l) { return lane[l]; }) + (bias ? bias[j] : A(0));
      C& c = static_cast<C*>(p.c)[(i0 + m) * p.c_row + j * p.c_col];
      c = C(p.beta ? A(c) + sum : sum);
    }
  }
}

template <class T, class A, class C> void by_columns(const Product* products, int64_t count) {
  for (int64_t g = 0; g < count; ++g) {
    const Product& p = products[g];
    A* a = scratch<A>(kScratchB, p.M * p.K + 1);
    for (int64_t m = 0; m < p.M; ++m) {
      const T* row = static_cast<const T*>(p.a) + m * p.a_row;
      for (int64_t k = 0; k < p.K; ++k) { a[m * p.K + k] = A(row[k * p.a_col]); }
    }
    // Long stretches of B, so that memory is read as a stream whichever thread has the next one; a small B in sixteen.
    const int64_t column = p.K * int64_t(sizeof(T)) + 1, stretch = minimum(kStretch, p.N * column / 16);
    const int64_t grain = (stretch > kStretch / 16 ? stretch : kStretch / 16) / column + 1;
    parallel_for(p.N, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < p.M; i += 4) {  // the columns stay in cache
        const A* rows = a + i * p.K;
        switch (p.M - i) {
          case 1: few_rows<1, T, A, C>(p, rows, i, begin, end); break;
          case 2: few_rows<2, T, A, C>(p, rows, i, begin, end); break;
          case 3: few_rows<3, T, A, C>(p, rows, i, begin, end); break;
          default: few_rows<4, T, A, C>(p, rows, i, begin, end);
        }
      }
      if (p.epilogue) { finish<C>(p, 0, p.M, begin, end - begin); }
    });
  }
}

// A C so small that its tiles would not occupy the threads, and a K long enough to cut: half as long as A has rows at least, else what is packed of A at
// once leaves the cache, and an expert's share of rows is one task.
bool cut_by_depth(const Product* products, int64_t count) {
  int64_t tiles = 0, depth = 0, rows = 0, largest = 0;
  for (int64_t g = 0; g < count; ++g) {
    const Product& p = products[g];
    tiles += ceil_div(p.M, kRows) * ceil_div(p.N, 1024);
    depth += p.K;
    rows += p.M;
    largest = p.M * p.N > largest ? p.M * p.N : largest;
  }
  return depth >= 4 * kSplitDepth && 2 * depth >= rows && depth > count * kDepth && largest <= 262144 && tiles < 64 * count;
}

// A weight gradient as its transpose, C^T = B^T A^T, where that is fewer tiles: whole ones waste less, and the operand that is packed for all tasks
// at once is the narrow one.
template <class P> Product turned(const Product& p) {
  const auto tiles = [](int64_t M, int64_t N) { return ceil_div(M, P::kRows) * ceil_div(N, kTileCols<typename P::Sum>); };
  const int64_t tiles_here = tiles(p.M, p.N), tiles_turned = tiles(p.N, p.M);
  const bool better = tiles_turned < tiles_here || (tiles_turned == tiles_here && p.M < p.N);
  if (p.bias || p.epilogue || p.a_row != 1 || p.b_col != 1 || p.K < kDepth || !better) { return p; }
  return {p.N, p.M, p.K, p.b, p.a, p.b_col, p.b_row, p.a_col, p.a_row, p.c, p.c_col, p.c_row, nullptr, p.beta};
}

template <class T, class P, class C> void run(const Product* products, int64_t count) {
  using A = typename P::Sum;
  if (cut_by_columns(products, count)) { return by_columns<T, A, C>(products, count); }
  Product* ready = scratch<Product>(kScratchProducts, count);
  for (int64_t g = 0; g < count; ++g) { ready[g] = turned<P>(products[g]); }
  if (cut_by_depth(ready, count)) { by_depth<T, P, C>(ready, count); }
  else { by_tiles<T, P, C>(ready, count); }
}

}  // namespace

void gemm(const Product* products, int64_t count, DType ab, DType c) {
  // Packed operands of many products are bounded by running them in groups.
  int64_t begin = 0;
  while (begin < count) {
    int64_t end = begin, packed = 0;
    while (end < count && (end == begin || packed + products[end].N * products[end].K <= (int64_t(16) << 20))) {
      packed += products[end].N * products[end].K;
      ++end;
    }
    dispatch_float(ab, [&]<class T>() {
      dispatch_float(c, [&]<class C>() {
        if constexpr (__is_same(T, double) == __is_same(C, double)) {
#if defined(PUMICE_ISA_IS_avx512)
          if constexpr (__is_same(T, bf16)) {
            switch (active_isa()) {
              case Isa::avx512_bf16: return run<T, Pairs, C>(products + begin, end - begin);
              case Isa::amx: return run<T, Tiles<MatrixUnits>, C>(products + begin, end - begin);
              case Isa::amx_emulated: return run<T, Tiles<PlainTiles>, C>(products + begin, end - begin);
              default: break;
            }
          }
#endif
          run<T, Numbers<T>, C>(products + begin, end - begin);
        }
        else { dtype_not_dispatched(c); }
      });
    });
    begin = end;
  }
}

}  // namespace pumice::PUMICE_ISA
