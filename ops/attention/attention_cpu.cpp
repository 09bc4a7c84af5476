// Attention by blocks of query rows. Keys and values of one head of one sequence are packed once per task, in f32 and padded to
// whole vectors, and every product runs in the register tile of the gemm. Forward tasks own (sequence, block of queries, head);
// backward tasks own (sequence, head of keys), so dk and dv are summed by one thread in order. A few queries, as in generation, read keys and
// values where they are.
#include "pumice/ops/attention/attention_kernels.h"
#include "pumice/ops/matmul/microkernel.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int64_t kQueries = 128;  // rows of a block
constexpr int64_t kFew = 4;        // queries that are not worth packing keys for
constexpr int kPlan = 7;           // scratch slot of the calling thread; 0 to 6 belong to tasks

template <class A> PUMICE_INLINE int64_t padded(int64_t n) { return (n + kVector<A> - 1) / kVector<A> * kVector<A>; }
PUMICE_INLINE int64_t minimum(int64_t a, int64_t b) { return a < b ? a : b; }

// Rows [first, first + count) of head h, times `factor`, into (count, ld) with zero padding.
template <class T, class A> void pack_rows(const View& x, int64_t first, int64_t count, int64_t h, A factor, A* out, int64_t ld) {
  const int64_t D = x.shape[2];
  for (int64_t i = 0; i < count; ++i, out += ld) {
    const T* row = x.as<T>() + (first + i) * x.stride[0] + h * x.stride[1];
    for (int64_t d = 0; d < D; ++d) { out[d] = A(row[d]) * factor; }
    for (int64_t d = D; d < ld; ++d) { out[d] = 0; }
  }
}

// The same transposed: (D, ld), tokens along the row.
template <class T, class A> void pack_columns(const View& x, int64_t first, int64_t count, int64_t h, A* out, int64_t ld) {
  const int64_t D = x.shape[2];
  for (int64_t i = 0; i < count; ++i) {
    const T* row = x.as<T>() + (first + i) * x.stride[0] + h * x.stride[1];
    for (int64_t d = 0; d < D; ++d) { out[d * ld + i] = A(row[d]); }
  }
  for (int64_t d = 0; d < D; ++d) {
    for (int64_t i = count; i < ld; ++i) { out[d * ld + i] = 0; }
  }
}

template <class T, class A> void store_rows(const View& x, int64_t first, int64_t count, int64_t h, const A* in, int64_t ld) {
  const int64_t D = x.shape[2];
  for (int64_t i = 0; i < count; ++i, in += ld) {
    T* row = x.as<T>() + (first + i) * x.stride[0] + h * x.stride[1];
    for (int64_t d = 0; d < D; ++d) { row[d] = T(in[d]); }
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

// exp(row - max) / sum over [begin, end) and zero in the rest of [0, width); returns the log of the sum of exponentials.
template <class A> PUMICE_INLINE A softmax_within(A* row, int64_t begin, int64_t end, int64_t width) {
  A* seen = row + begin;
  const int64_t n = end - begin;
  const A top = lane_max<A>(n, seen[0], [&](int64_t j) { return seen[j]; });
  for (int64_t j = 0; j < n; ++j) { seen[j] = exp_of(seen[j] - top); }
  const A sum = lane_sum<A>(n, [&](int64_t j) { return seen[j]; }), inverse = A(1) / sum;
  for (int64_t j = 0; j < begin; ++j) { row[j] = 0; }
  for (int64_t j = 0; j < n; ++j) { seen[j] *= inverse; }
  for (int64_t j = end; j < width; ++j) { row[j] = 0; }
  return top + log_of(sum);
}

template <class T> void forward_few(const AttentionFwd& a, const Sequence& s, int64_t start, int64_t rows, int64_t h) {
  using A = Acc<T>;
  const int64_t D = a.q.shape[2], H = a.q.shape[1], head = h / (H / a.k.shape[1]);
  A* p = scratch<A>(0, s.keys);
  A* q = scratch<A>(1, D);
  A* o = scratch<A>(2, D);
  for (int64_t i = start; i < start + rows; ++i) {
    const int64_t begin = s.begin(i, a), end = s.end(i, a);
    pack_rows<T, A>(a.q, s.query + i, 1, h, A(a.scale), q, D);
    for (int64_t j = begin; j < end; ++j) {
      const T* k = a.k.as<T>() + (s.key + j) * a.k.stride[0] + head * a.k.stride[1];
      p[j] = lane_sum<A>(D, [&](int64_t d) { return q[d] * A(k[d]); });
    }
    a.lse.as<A>()[(s.query + i) * H + h] = softmax_within(p, begin, end, end);
    for (int64_t d = 0; d < D; ++d) { o[d] = 0; }
    for (int64_t j = begin; j < end; ++j) {
      const T* v = a.v.as<T>() + (s.key + j) * a.v.stride[0] + head * a.v.stride[1];
      for (int64_t d = 0; d < D; ++d) { o[d] += p[j] * A(v[d]); }
    }
    store_rows<T, A>(a.out, s.query + i, 1, h, o, D);
  }
}

template <class T> void forward_block(const AttentionFwd& a, const QueryBlock& block, int64_t h) {
  using A = Acc<T>;
  const Sequence s = sequence_of(a.q_offsets, a.k_offsets, block.sequence);
  const int64_t D = a.q.shape[2], H = a.q.shape[1], first = s.query + block.start, head = h / (H / a.k.shape[1]);
  const int64_t rows = minimum(kQueries, s.queries - block.start);
  if (rows < kFew) { return forward_few<T>(a, s, block.start, rows, h); }
  const int64_t from = s.begin(block.start, a), keys = s.end(block.start + rows - 1, a) - from;  // that any of the rows sees
  const int64_t ldk = padded<A>(keys), ldd = padded<A>(D);
  A* kt = scratch<A>(0, D * ldk);
  A* v = scratch<A>(1, keys * ldd);
  A* q = scratch<A>(2, rows * ldd);
  A* p = scratch<A>(3, rows * ldk);
  A* o = scratch<A>(4, rows * ldd);
  pack_columns<T, A>(a.k, s.key + from, keys, head, kt, ldk);
  pack_rows<T, A>(a.v, s.key + from, keys, head, A(1), v, ldd);
  pack_rows<T, A>(a.q, first, rows, h, A(a.scale), q, ldd);
  small_product<A, false>(rows, ldk, D, q, ldd, 1, kt, ldk, p, ldk);
  for (int64_t i = 0; i < rows; ++i) {
    a.lse.as<A>()[(first + i) * H + h] = softmax_within(p + i * ldk, s.begin(block.start + i, a) - from, s.end(block.start + i, a) - from, ldk);
  }
  small_product<A, false>(rows, ldd, keys, p, ldk, 1, v, ldd, o, ldd);
  store_rows<T, A>(a.out, first, rows, h, o, ldd);
}

// The keys and values of one head, packed, and the sums of their gradients.
template <class A> struct PackedHead {
  A *kt, *vt;     // (D, ldk)
  A *k, *dk, *dv; // (keys, ldd)
  int64_t ldk, ldd;
};

// What the queries of head h give to their own gradient and to that of the keys and values.
template <class T, class A> void backward_queries(const AttentionBwd& a, const Sequence& s, int64_t h, const PackedHead<A>& head) {
  const int64_t D = a.q.shape[2], H = a.q.shape[1], ldk = head.ldk, ldd = head.ldd;
  for (int64_t start = 0; start < s.queries; start += kQueries) {
    const int64_t rows = minimum(kQueries, s.queries - start);
    const int64_t from = s.begin(start, a) / kVector<A> * kVector<A>;  // whole vectors, so that padding stays inside of ldk
    const int64_t keys = s.end(start + rows - 1, a) - from, width = padded<A>(keys);
    A* queries = scratch<A>(3, 3 * rows * ldd);
    A *q = queries, *dout = q + rows * ldd, *dq = dout + rows * ldd;
    A* p = scratch<A>(4, rows * ldk);
    A* ds = scratch<A>(5, rows * ldk);
    pack_rows<T, A>(a.q, s.query + start, rows, h, A(a.scale), q, ldd);
    pack_rows<T, A>(a.dout, s.query + start, rows, h, A(1), dout, ldd);
    small_product<A, false>(rows, width, D, q, ldd, 1, head.kt + from, ldk, p, ldk);
    small_product<A, false>(rows, width, D, dout, ldd, 1, head.vt + from, ldk, ds, ldk);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t token = s.query + start + i, begin = s.begin(start + i, a) - from, end = s.end(start + i, a) - from;
      const T* out = a.out.as<T>() + token * a.out.stride[0] + h * a.out.stride[1];
      const A* g = dout + i * ldd;
      const A lse = a.lse.as<A>()[token * H + h], dot = lane_sum<A>(D, [&](int64_t d) { return g[d] * A(out[d]); });
      A *pi = p + i * ldk, *di = ds + i * ldk;
      for (int64_t j = 0; j < begin; ++j) { pi[j] = di[j] = 0; }
      for (int64_t j = begin; j < end; ++j) {
        pi[j] = exp_of(pi[j] - lse);
        di[j] = pi[j] * (di[j] - dot);
      }
      for (int64_t j = end; j < width; ++j) { pi[j] = di[j] = 0; }
    }
    small_product<A, true>(keys, ldd, rows, p, 1, ldk, dout, ldd, head.dv + from * ldd, ldd);
    small_product<A, true>(keys, ldd, rows, ds, 1, ldk, q, ldd, head.dk + from * ldd, ldd);  // q carries the scale
    small_product<A, false>(rows, ldd, keys, ds, ldk, 1, head.k + from * ldd, ldd, dq, ldd);
    for (int64_t i = 0; i < rows * ldd; ++i) { dq[i] *= A(a.scale); }
    store_rows<T, A>(a.dq, s.query + start, rows, h, dq, ldd);
  }
}

template <class T> void backward_head(const AttentionBwd& a, const Sequence& s, int64_t head) {
  using A = Acc<T>;
  const int64_t D = a.q.shape[2], group = a.q.shape[1] / a.k.shape[1], L = s.keys, ldk = padded<A>(L), ldd = padded<A>(D);
  A* columns = scratch<A>(0, 2 * D * ldk);
  A* k = scratch<A>(1, L * ldd);
  A* sums = scratch<A>(2, 2 * L * ldd);
  const PackedHead<A> p{columns, columns + D * ldk, k, sums, sums + L * ldd, ldk, ldd};
  pack_columns<T, A>(a.k, s.key, L, head, p.kt, ldk);
  pack_columns<T, A>(a.v, s.key, L, head, p.vt, ldk);
  pack_rows<T, A>(a.k, s.key, L, head, A(1), k, ldd);
  for (int64_t i = 0; i < 2 * L * ldd; ++i) { sums[i] = 0; }
  for (int64_t h = head * group; h < (head + 1) * group; ++h) { backward_queries<T>(a, s, h, p); }
  store_rows<T, A>(a.dk, s.key, L, head, p.dk, ldd);
  store_rows<T, A>(a.dv, s.key, L, head, p.dv, ldd);
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
  dispatch_float(a.q.dtype, [&]<class E>() {
    parallel_for(count * H, 4, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) { forward_block<E>(a, blocks[task / H], task % H); }
    });
  });
}

void attention_bwd(const AttentionBwd& a) {
  const int64_t N = a.q_offsets.shape[0] - 1, H = a.k.shape[1];
  dispatch_float(a.q.dtype, [&]<class E>() {
    parallel_for(N * H, 4, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const Sequence s = sequence_of(a.q_offsets, a.k_offsets, task / H);
        if (s.keys > 0) { backward_head<E>(a, s, task % H); }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
