// Attention by blocks of query rows. Keys and values of one head of one sequence are packed once per task, in f32 or in pairs of bf16 and padded to
// whole vectors, and every product runs in the register tile of the gemm. Forward tasks own (sequence, block of queries, head);
// backward tasks own (sequence, head of keys), so dk and dv are summed by one thread in order. A few queries, as in generation, read keys and
// values where they are.
#include "pumice/ops/attention/attention_kernels.h"
#include "pumice/ops/matmul/microkernel.h"
#include "pumice/tensor/isa.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int64_t kQueries = 128;  // rows of a block
constexpr int64_t kFew = 4;        // queries that are not worth packing keys for
constexpr int kPlan = 7;           // scratch slot of the calling thread; 0 to 6 belong to tasks

template <class A> PUMICE_INLINE int64_t padded(int64_t n) { return (n + kVector<A> - 1) / kVector<A> * kVector<A>; }
template <class P> PUMICE_INLINE int64_t words(int64_t n) { return (n + P::kDeep - 1) / P::kDeep; }

template <class T> PUMICE_INLINE T* row_of(const View& x, int64_t row, int64_t h) { return x.as<T>() + row * x.stride[0] + h * x.stride[1]; }

// Rows [first, first + count) of head h into (count, ld) with zero padding.
template <class T, class A> void pack_rows(const View& x, int64_t first, int64_t count, int64_t h, A* out, int64_t ld) {
  const int64_t D = x.shape[2];
  for (int64_t i = 0; i < count; ++i, out += ld) {
    const T* row = row_of<T>(x, first + i, h);
    for (int64_t d = 0; d < D; ++d) { out[d] = A(row[d]); }
    for (int64_t d = D; d < ld; ++d) { out[d] = 0; }
  }
}

// Four tokens at a time of rows of `words`, transposed into (words, ld), tokens along the row; row(i) is token i. The caller fills what is left.
template <class E, class Word, class Row> PUMICE_INLINE int64_t transpose_fours(int64_t count, int64_t words, const Row& row, Word* out, int64_t ld) {
  int64_t i = 0;
  if constexpr (sizeof(Word) == 4) {
    for (; i + 4 <= count; i += 4) {
      const E *a = row(i), *b = row(i + 1), *c = row(i + 2), *d = row(i + 3);
      for (int64_t w = 0; w + 4 <= words; w += 4) {
        transpose_four(load_four(a + w), load_four(b + w), load_four(c + w), load_four(d + w), out + w * ld + i, ld * int64_t(sizeof(Word)));
      }
    }
  }
  return i;
}

// Operands as numbers of the type that sums them: whether depth runs along a row or down a column is a matter of strides.
template <class E> struct Numbers : Plain<Acc<E>> {
  using A = Acc<E>;
  // Rows, whose D are the depth of a product.
  static void rows(const View& x, int64_t first, int64_t count, int64_t h, A* out, int64_t ld) { pack_rows<E, A>(x, first, count, h, out, ld); }
  // The same transposed: (D, ld), tokens along the row.
  static void columns(const View& x, int64_t first, int64_t count, int64_t h, A* out, int64_t ld) {
    const int64_t D = x.shape[2];
    const auto row = [&](int64_t i) { return row_of<E>(x, first + i, h); };
    const int64_t whole = transpose_fours<E>(count, D, row, out, ld);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t d = i < whole ? D / 4 * 4 : 0; d < D; ++d) { out[d * ld + i] = A(row(i)[d]); }
    }
    for (int64_t d = 0; d < D; ++d) {
      for (int64_t i = count; i < ld; ++i) { out[d * ld + i] = 0; }
    }
  }
  // Rows, whose tokens are the depth.
  static void stack(const View& x, int64_t first, int64_t count, int64_t h, A* out, int64_t ld) { rows(x, first, count, h, out, ld); }
  // Probabilities (rows, ld) whose keys are the depth, and the same whose queries are.
  static const A* along_keys(const A* p, int64_t, int64_t, A*) { return p; }
  static const A* along_queries(const A* p, int64_t, int64_t, A*) { return p; }
};

#if defined(PUMICE_ISA_IS_avx512)
// In pairs of neighbours in depth; probabilities are rounded to bf16 for it.
struct Pairs : Paired {
  static PUMICE_INLINE Word pair(bf16 low, bf16 high) { return low.bits | Word(high.bits) << 16; }
  static void rows(const View& x, int64_t first, int64_t count, int64_t h, Word* out, int64_t ld) {
    const int64_t D = x.shape[2];
    for (int64_t i = 0; i < count; ++i, out += ld) {
      const bf16* row = row_of<bf16>(x, first + i, h);
      std::memcpy(out, row, D / 2 * sizeof(Word));
      if (D % 2) { out[D / 2] = row[D - 1].bits; }
    }
  }
  static void columns(const View& x, int64_t first, int64_t count, int64_t h, Word* out, int64_t ld) {
    const int64_t D = x.shape[2];
    const auto words = [&](int64_t i) { return reinterpret_cast<const Unaligned*>(row_of<bf16>(x, first + i, h)); };
    const int64_t whole = transpose_fours<Unaligned>(count, D / 2, words, out, ld);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t w = i < whole ? D / 8 * 4 : 0; w < D / 2; ++w) { out[w * ld + i] = words(i)[w]; }
      if (D % 2) { out[D / 2 * ld + i] = row_of<bf16>(x, first + i, h)[D - 1].bits; }
    }
    for (int64_t w = 0; w < (D + 1) / 2; ++w) {
      for (int64_t i = count; i < ld; ++i) { out[w * ld + i] = 0; }
    }
  }
  static void stack(const View& x, int64_t first, int64_t count, int64_t h, Word* out, int64_t ld) {
    const int64_t D = x.shape[2];
    for (int64_t i = 0; i < count; i += 2, out += ld) {
      const bf16 *low = row_of<bf16>(x, first + i, h), *high = row_of<bf16>(x, first + i + 1, h);
      if (i + 1 < count) { for (int64_t d = 0; d < D; ++d) { out[d] = pair(low[d], high[d]); } }
      else { for (int64_t d = 0; d < D; ++d) { out[d] = low[d].bits; } }
      for (int64_t d = D; d < ld; ++d) { out[d] = 0; }
    }
  }
  static const Word* along_keys(const float* p, int64_t rows, int64_t ld, Word* out) {
    typedef uint16_t Half __attribute__((may_alias));
    Half* to = reinterpret_cast<Half*>(out);
    for (int64_t i = 0; i < rows * ld; ++i) { to[i] = bf16(p[i]).bits; }
    return out;
  }
  static const Word* along_queries(const float* p, int64_t rows, int64_t ld, Word* out) {
    for (int64_t i = 0; i < rows; i += 2, p += 2 * ld, out += ld) {
      if (i + 1 < rows) { for (int64_t j = 0; j < ld; ++j) { out[j] = pair(bf16(p[j]), bf16(p[ld + j])); } }
      else { for (int64_t j = 0; j < ld; ++j) { out[j] = bf16(p[j]).bits; } }
    }
    return out - (rows + 1) / 2 * ld;
  }

 private:
  typedef uint32_t Unaligned __attribute__((aligned(2), may_alias));
};
#endif

// Asks for rows of the next task once this one's are packed: their distance hides them from the hardware's prefetchers. Asked for before, they
// would only stand in the way.
template <class T> PUMICE_INLINE void expect_rows(const View& x, int64_t first, int64_t count, int64_t h) {
  constexpr int64_t kMost = 256;
  const int64_t bytes = x.shape[2] * int64_t(sizeof(T));
  for (int64_t i = 0; i < minimum(count, kMost); ++i) {
    const char* row = reinterpret_cast<const char*>(row_of<T>(x, first + i, h));
    for (int64_t b = 0; b < bytes; b += 64) { __builtin_prefetch(row + b, 0, 2); }
  }
}

// Rows of `in` (count, ld), times factor(i).
template <class T, class A, class Factor>
void store_rows(const View& x, int64_t first, int64_t count, int64_t h, const A* in, int64_t ld, const Factor& factor) {
  const int64_t D = x.shape[2];
  for (int64_t i = 0; i < count; ++i, in += ld) {
    T* row = row_of<T>(x, first + i, h);
    const A f = factor(i);
    for (int64_t d = 0; d < D; ++d) { row[d] = T(in[d] * f); }
  }
}

// The rows of one sequence. A causal query sees the keys up to its own place counted from the end, so that the last sees all; with a window
// only the last of those.
struct Sequence {
  int64_t query, queries, key, keys;
  template <class Args> PUMICE_INLINE int64_t end(int64_t i, const Args& a) const { return a.causal ? i + 1 + keys - queries : keys; }
  template <class Args> PUMICE_INLINE int64_t begin(int64_t i, const Args& a) const {  // query i sees keys [begin, end)
    const int64_t n = a.window ? end(i, a) - a.window : 0;
    return n > 0 ? n : 0;
  }
};
PUMICE_INLINE Sequence sequence_of(const View& q_offsets, const View& k_offsets, int64_t n) {
  const int32_t *q = q_offsets.as<int32_t>(), *k = k_offsets.as<int32_t>();
  return {q[n], q[n + 1] - q[n], k[n], k[n + 1] - k[n]};
}

struct QueryBlock { int32_t sequence, start; };  // queries [start, start + kQueries) of a sequence

// exp(scale row - its maximum) over [begin, end) and zero in the rest of [0, width).
template <class A> struct ExpSum { A sum, lse; };  // lse: log of the sum of exp(scale row)
template <class A> PUMICE_INLINE ExpSum<A> exp_within(A* row, A scale, int64_t begin, int64_t end, int64_t width) {
  A* seen = row + begin;
  const int64_t n = end - begin;
  const A top = lane_max<A>(n, scale * seen[0], [&](int64_t j) { return scale * seen[j]; });
  for (int64_t j = 0; j < begin; ++j) { row[j] = 0; }
  for (int64_t j = 0; j < n; ++j) { seen[j] = exp_of(scale * seen[j] - top); }
  for (int64_t j = end; j < width; ++j) { row[j] = 0; }
  const A sum = lane_sum<A>(n, [&](int64_t j) { return seen[j]; });
  return {sum, top + log_of(sum)};
}

template <class T> void forward_few(const AttentionFwd& a, const Sequence& s, int64_t start, int64_t rows, int64_t h) {
  using A = Acc<T>;
  const int64_t D = a.q.shape[2], H = a.q.shape[1], head = h / (H / a.k.shape[1]);
  A* p = scratch<A>(0, s.keys);
  A* q = scratch<A>(1, D);
  A* o = scratch<A>(2, D);
  for (int64_t i = start; i < start + rows; ++i) {
    const int64_t begin = s.begin(i, a), end = s.end(i, a);
    pack_rows<T, A>(a.q, s.query + i, 1, h, q, D);
    for (int64_t j = begin; j < end; ++j) {
      const T* k = row_of<T>(a.k, s.key + j, head);
      p[j] = lane_sum<A>(D, [&](int64_t d) { return q[d] * A(k[d]); });
    }
    const ExpSum<A> row = exp_within(p, A(a.scale), begin, end, end);
    a.lse.as<A>()[(s.query + i) * H + h] = row.lse;
    for (int64_t d = 0; d < D; ++d) { o[d] = 0; }
    for (int64_t j = begin; j < end; ++j) {
      const T* v = row_of<T>(a.v, s.key + j, head);
      for (int64_t d = 0; d < D; ++d) { o[d] += p[j] * A(v[d]); }
    }
    store_rows<T>(a.out, s.query + i, 1, h, o, D, [&](int64_t) { return A(1) / row.sum; });
  }
}

template <class T, class P> void forward_block(const AttentionFwd& a, const QueryBlock& block, int64_t h) {
  using A = typename P::Sum;
  using W = typename P::Word;
  const Sequence s = sequence_of(a.q_offsets, a.k_offsets, block.sequence);
  const int64_t D = a.q.shape[2], H = a.q.shape[1], first = s.query + block.start, head = h / (H / a.k.shape[1]);
  const int64_t rows = minimum(kQueries, s.queries - block.start);
  if (rows < kFew) { return forward_few<T>(a, s, block.start, rows, h); }
  const int64_t from = s.begin(block.start, a), keys = s.end(block.start + rows - 1, a) - from;  // that any of the rows sees
  const int64_t ldk = padded<A>(keys), ldd = padded<A>(D), deep = words<P>(D), deep_keys = words<P>(keys);
  W* kt = scratch<W>(0, deep * ldk);
  W* v = scratch<W>(1, deep_keys * ldd);
  W* q = scratch<W>(2, rows * deep);
  A* p = scratch<A>(3, rows * ldk);
  A* o = scratch<A>(4, rows * ldd);
  A* sums = scratch<A>(5, rows);
  P::columns(a.k, s.key + from, keys, head, kt, ldk);
  P::stack(a.v, s.key + from, keys, head, v, ldd);
  P::rows(a.q, first, rows, h, q, deep);
  if (h + 1 < H) {
    expect_rows<T>(a.q, first, rows, h + 1);
    expect_rows<T>(a.k, s.key + from, keys, head + 1 < a.k.shape[1] ? head + 1 : head);
    expect_rows<T>(a.v, s.key + from, keys, head + 1 < a.k.shape[1] ? head + 1 : head);
  }
  small_product<P, false>(rows, ldk, deep, q, deep, 1, kt, ldk, p, ldk);
  for (int64_t i = 0; i < rows; ++i) {
    const ExpSum<A> row = exp_within(p + i * ldk, A(a.scale), s.begin(block.start + i, a) - from, s.end(block.start + i, a) - from, ldk);
    a.lse.as<A>()[(first + i) * H + h] = row.lse;
    sums[i] = row.sum;
  }
  const W* weights = P::along_keys(p, rows, ldk, P::kDeep > 1 ? scratch<W>(6, rows * ldk / P::kDeep) : nullptr);
  small_product<P, false>(rows, ldd, deep_keys, weights, ldk / P::kDeep, 1, v, ldd, o, ldd);
  store_rows<T>(a.out, first, rows, h, o, ldd, [&](int64_t i) { return A(1) / sums[i]; });
}

// The keys and values of one head, packed, and the sums of their gradients.
template <class P> struct PackedHead {
  typename P::Word *kt, *vt;  // (words of D, ldk)
  typename P::Word* k;        // (words of keys, ldd)
  typename P::Sum *dk, *dv;   // (keys, ldd)
  int64_t ldk, ldd;
};

// What the queries of head h give to their own gradient and to that of the keys and values.
template <class T, class P> void backward_queries(const AttentionBwd& a, const Sequence& s, int64_t h, const PackedHead<P>& head) {
  using A = typename P::Sum;
  using W = typename P::Word;
  const int64_t D = a.q.shape[2], H = a.q.shape[1], ldk = head.ldk, ldd = head.ldd, deep = words<P>(D);
  const A scale = A(a.scale);
  for (int64_t start = 0; start < s.queries; start += kQueries) {
    const int64_t rows = minimum(kQueries, s.queries - start), deep_rows = words<P>(rows);
    const int64_t from = s.begin(start, a) / kVector<A> * kVector<A>;  // whole vectors, so that padding stays inside of ldk
    const int64_t keys = s.end(start + rows - 1, a) - from, width = padded<A>(keys);
    W* queries = scratch<W>(3, 4 * rows * ldd);
    W *q = queries, *dout = q + rows * ldd, *q_stack = dout + rows * ldd, *dout_stack = q_stack + rows * ldd;
    A* p = scratch<A>(4, 2 * rows * width + rows * ldd);
    A *ds = p + rows * width, *dq = ds + rows * width;
    P::rows(a.q, s.query + start, rows, h, q, ldd);
    P::rows(a.dout, s.query + start, rows, h, dout, ldd);
    if constexpr (P::kDeep == 1) { q_stack = q, dout_stack = dout; }
    else {
      P::stack(a.q, s.query + start, rows, h, q_stack, ldd);
      P::stack(a.dout, s.query + start, rows, h, dout_stack, ldd);
    }
    if (h + 1 < H) {
      expect_rows<T>(a.q, s.query + start, rows, h + 1);
      expect_rows<T>(a.out, s.query + start, rows, h + 1);
      expect_rows<T>(a.dout, s.query + start, rows, h + 1);
    }
    small_product<P, false>(rows, width, deep, q, ldd, 1, head.kt + from, ldk, p, width);
    small_product<P, false>(rows, width, deep, dout, ldd, 1, head.vt + from, ldk, ds, width);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t token = s.query + start + i, begin = s.begin(start + i, a) - from, end = s.end(start + i, a) - from;
      const T *out = row_of<T>(a.out, token, h), *g = row_of<T>(a.dout, token, h);
      const A lse = a.lse.as<A>()[token * H + h], dot = lane_sum<A>(D, [&](int64_t d) { return A(g[d]) * A(out[d]); });
      A *pi = p + i * width, *di = ds + i * width;
      for (int64_t j = 0; j < begin; ++j) { pi[j] = di[j] = 0; }
      for (int64_t j = begin; j < end; ++j) {
        pi[j] = exp_of(scale * pi[j] - lse);
        di[j] = scale * pi[j] * (di[j] - dot);
      }
      for (int64_t j = end; j < width; ++j) { pi[j] = di[j] = 0; }
    }
    W* space = P::kDeep > 1 ? scratch<W>(5, (rows + 1) * width) : nullptr;
    small_product<P, true>(keys, ldd, deep_rows, P::along_queries(p, rows, width, space), 1, width, dout_stack, ldd, head.dv + from * ldd, ldd);
    small_product<P, true>(keys, ldd, deep_rows, P::along_queries(ds, rows, width, space), 1, width, q_stack, ldd, head.dk + from * ldd, ldd);
    small_product<P, false>(rows, ldd, words<P>(keys), P::along_keys(ds, rows, width, space), width / P::kDeep, 1, head.k + from / P::kDeep * ldd, ldd, dq,
                            ldd);
    store_rows<T>(a.dq, s.query + start, rows, h, dq, ldd, [](int64_t) { return A(1); });
  }
}

template <class T, class P> void backward_head(const AttentionBwd& a, const Sequence& s, int64_t head) {
  using A = typename P::Sum;
  using W = typename P::Word;
  const int64_t D = a.q.shape[2], group = a.q.shape[1] / a.k.shape[1], L = s.keys, ldk = padded<A>(L), ldd = padded<A>(D);
  W* columns = scratch<W>(0, 2 * D * ldk);
  W* k = scratch<W>(1, L * ldd);
  A* sums = scratch<A>(2, 2 * L * ldd);
  const PackedHead<P> p{columns, columns + D * ldk, k, sums, sums + L * ldd, ldk, ldd};
  P::columns(a.k, s.key, L, head, p.kt, ldk);
  P::columns(a.v, s.key, L, head, p.vt, ldk);
  P::stack(a.k, s.key, L, head, k, ldd);
  if (head + 1 < a.k.shape[1]) {
    expect_rows<T>(a.k, s.key, L, head + 1);
    expect_rows<T>(a.v, s.key, L, head + 1);
  }
  for (int64_t i = 0; i < 2 * L * ldd; ++i) { sums[i] = 0; }
  for (int64_t h = head * group; h < (head + 1) * group; ++h) { backward_queries<T, P>(a, s, h, p); }
  const auto one = [](int64_t) { return A(1); };
  store_rows<T>(a.dk, s.key, L, head, p.dk, ldd, one);
  store_rows<T>(a.dv, s.key, L, head, p.dv, ldd, one);
}

// f.template operator()<T, P>(): the element type and how its operands are packed.
template <class F> PUMICE_INLINE void dispatch_packing(DType dtype, const F& f) {
  dispatch_float(dtype, [&]<class T>() {
#if defined(PUMICE_ISA_IS_avx512)
    if constexpr (__is_same(T, bf16)) {
      if (active_isa() == Isa::avx512_bf16) { return f.template operator()<T, Pairs>(); }
    }
#endif
    f.template operator()<T, Numbers<T>>();
  });
}

}  // namespace

void attention_fwd(const AttentionFwd& a) {
  const int64_t N = a.q_offsets.shape[0] - 1, T = a.q.shape[0], H = a.q.shape[1];
  QueryBlock* blocks = scratch<QueryBlock>(kPlan, N + T / kQueries + 1);
  int64_t count = 0;
  for (int64_t n = 0; n < N; ++n) {
    const int64_t queries = sequence_of(a.q_offsets, a.k_offsets, n).queries;
    for (int64_t start = 0; start < queries; start += kQueries) { blocks[count++] = {int32_t(n), int32_t(start)}; }
  }
  dispatch_packing(a.q.dtype, [&]<class E, class P>() {
    parallel_for(count * H, 4, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) { forward_block<E, P>(a, blocks[task / H], task % H); }
    });
  });
}

void attention_bwd(const AttentionBwd& a) {
  const int64_t N = a.q_offsets.shape[0] - 1, H = a.k.shape[1];
  dispatch_packing(a.q.dtype, [&]<class E, class P>() {
    parallel_for(N * H, 4, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const Sequence s = sequence_of(a.q_offsets, a.k_offsets, task / H);
        if (s.keys > 0) { backward_head<E, P>(a, s, task % H); }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
