#include "pumice/ops/reduce/reduce_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int64_t kPiece = 4096;   // of a long dense row
constexpr int64_t kColumns = 256;  // of a task that sums down columns

// Few long rows: pieces are summed side by side and added in order.
template <class T> void sum_rows(const SumArgs& a, int64_t O, int64_t R) {
  using A = Acc<T>;
  const int64_t pieces = (R + kPiece - 1) / kPiece;
  A* partial = scratch<A>(0, O * pieces + 1);
  parallel_for(O * pieces, grain_for(R < kPiece ? R : kPiece), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / pieces, first = task % pieces * kPiece, n = R - first < kPiece ? R - first : kPiece;
      const T* x = a.x.as<T>() + o * a.x.stride[0] + first;
      partial[task] = lane_sum<A>(n, [&](int64_t i) { return A(x[i]); });
    }
  });
  for (int64_t o = 0; o < O; ++o) {
    A total = 0;
    for (int64_t i = 0; i < pieces; ++i) { total += partial[o * pieces + i]; }
    a.y.as<T>()[o * a.y.stride[0]] = T(total * A(a.scale));
  }
}

// Columns side by side: a task owns some of them and walks down R in order.
template <class T> void sum_columns(const SumArgs& a, int64_t O, int64_t R, int64_t I) {
  using A = Acc<T>;
  const int64_t stripes = (I + kColumns - 1) / kColumns;
  parallel_for(O * stripes, grain_for(R * (I < kColumns ? I : kColumns)), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / stripes, first = task % stripes * kColumns, n = I - first < kColumns ? I - first : kColumns;
      A sums[kColumns] = {};
      for (int64_t r = 0; r < R; ++r) {
        const T* x = a.x.as<T>() + o * a.x.stride[0] + r * a.x.stride[1] + first * a.x.stride[2];
        for (int64_t i = 0; i < n; ++i) { sums[i] += A(x[i * a.x.stride[2]]); }
      }
      T* y = a.y.as<T>() + o * a.y.stride[0] + first * a.y.stride[1];
      for (int64_t i = 0; i < n; ++i) { y[i * a.y.stride[1]] = T(sums[i] * A(a.scale)); }
    }
  });
}

}  // namespace

void sum_axis(const SumArgs& a) {
  const int64_t O = a.x.shape[0], R = a.x.shape[1], I = a.x.shape[2];
  dispatch_float(a.x.dtype, [&]<class T>() {
    if (I == 1 && a.x.stride[1] == 1) { sum_rows<T>(a, O, R); }
    else { sum_columns<T>(a, O, R, I); }
  });
}

void max_axis(const MaxArgs& a) {
  const int64_t O = a.x.shape[0], R = a.x.shape[1];
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    parallel_for(O, grain_for(R), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const T* x = a.x.as<T>() + o * a.x.stride[0];
        int64_t best = 0;
        for (int64_t r = 1; r < R; ++r) {
          A v = A(x[r * a.x.stride[1]]), top = A(x[best * a.x.stride[1]]);
          if (v > top || (v != v && top == top)) { best = r; }  // a NaN is the maximum
        }
        a.y.as<T>()[o] = x[best * a.x.stride[1]];
        a.index.as<int64_t>()[o] = best;
      }
    });
  });
}

void max_axis_bwd(const MaxBackwardArgs& a) {
  dispatch_float(a.dx.dtype, [&]<class T>() {
    parallel_for(a.dx.shape[0], 4096, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) { a.dx.as<T>()[o * a.dx.stride[0] + a.index.as<int64_t>()[o]] = a.dy.as<T>()[o]; }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
