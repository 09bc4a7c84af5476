// Element i of N views of one shape, in row-major order: for CUDA kernels that take any strides. Neighbouring axes that are dense in all views
// are merged on the host, so that packed views are one axis and cost no division.
#pragma once
#include "pumice/tensor/simt/simt.h"
#include "pumice/tensor/view.h"

namespace pumice::simt {

template <int N> struct Walk {
  int64_t size = 1;
  int rank = 0;
  int64_t shape[kMaxRank] = {}, stride[kMaxRank][N] = {};

  template <class... V> explicit Walk(const View& first, const V&... more) {
    static_assert(sizeof...(V) == N - 1);
    const View* views[N] = {&first, &more...};
    for (int i = 0; i < first.rank; ++i) {
      size *= first.shape[i];
      if (first.shape[i] == 1) { continue; }
      bool merges = rank > 0;
      for (int v = 0; v < N; ++v) { merges = merges && stride[rank - 1][v] == views[v]->stride[i] * first.shape[i]; }
      if (!merges) { shape[rank++] = 1; }
      shape[rank - 1] *= first.shape[i];
      for (int v = 0; v < N; ++v) { stride[rank - 1][v] = views[v]->stride[i]; }
    }
  }

  // Every view is one run of neighbours, or (stride 0) a single repeated element.
  bool dense(int view) const { return rank == 0 || (rank == 1 && stride[0][view] == 1); }
  bool repeated(int view) const { return rank == 1 && stride[0][view] == 0; }

  __device__ __forceinline__ void offsets(int64_t i, int64_t (&at)[N]) const {
    for (int v = 0; v < N; ++v) { at[v] = 0; }
    if (size <= 0x7fffffff) { descend<uint32_t>(uint32_t(i), at); }  // 32-bit division is several times faster
    else { descend<int64_t>(i, at); }
  }

 private:
  template <class I> __device__ __forceinline__ void descend(I i, int64_t (&at)[N]) const {
    for (int a = rank - 1; a >= 0; --a) {
      const I outer = a ? i / I(shape[a]) : 0, index = i - outer * I(shape[a]);
      for (int v = 0; v < N; ++v) { at[v] += int64_t(index) * stride[a][v]; }
      i = outer;
    }
  }
};

}  // namespace pumice::simt
