// Scatter-add without atomics: the sources of each destination are chained in ascending order, then destinations are summed in
// parallel, each by one thread.
#include "pumice/ops/index/rows_kernels.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {

void gather_rows_kernel(const GatherRows& a) {
  const int64_t R = a.rows.shape[0], bytes = a.x.shape[1] * size_of(a.x.dtype);
  const int32_t* rows = a.rows.as<int32_t>();
  parallel_for(R, grain_for(a.x.shape[1]), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      char* y = a.y.as<char>() + i * bytes;
      if (rows[i] < 0) { __builtin_memset(y, 0, size_t(bytes)); }
      else { __builtin_memcpy(y, a.x.as<char>() + rows[i] * bytes, size_t(bytes)); }
    }
  });
}

void scatter_add_rows_kernel(const ScatterAddRows& a) {
  const int64_t T = a.y.shape[0], C = a.y.shape[1], R = a.rows.shape[0];
  const int32_t* rows = a.rows.as<int32_t>();
  int32_t *first = a.first.as<int32_t>(), *next = a.next.as<int32_t>();
  for (int64_t t = 0; t < T; ++t) { first[t] = -1; }
  for (int64_t i = R - 1; i >= 0; --i) {  // backwards, so that chains ascend
    if (rows[i] < 0) { continue; }
    next[i] = first[rows[i]];
    first[rows[i]] = int32_t(i);
  }
  dispatch_float(a.y.dtype, [&]<class Y>() {
    dispatch_float(a.x.dtype, [&]<class X>() {
      using A = Acc<Y>;
      parallel_for(T, grain_for(2 * C), [&](int64_t begin, int64_t end) {
        A* sums = scratch<A>(0, C + 1);
        for (int64_t t = begin; t < end; ++t) {
          Y* y = a.y.as<Y>() + t * C;
          if (first[t] < 0) {
            if (!a.beta) { for (int64_t c = 0; c < C; ++c) { y[c] = Y(A(0)); } }
            continue;
          }
          for (int64_t c = 0; c < C; ++c) { sums[c] = a.beta ? A(y[c]) : A(0); }
          for (int32_t i = first[t]; i >= 0; i = next[i]) {
            const X* x = a.x.as<X>() + i * C;
            for (int64_t c = 0; c < C; ++c) { sums[c] += A(x[c]); }
          }
          for (int64_t c = 0; c < C; ++c) { y[c] = Y(sums[c]); }
        }
      });
    });
  });
}

}  // namespace pumice::PUMICE_ISA
