// Walks two views of one shape row by row, with neighbouring axes merged where both are dense, so that the inner loop is as
// long as it can be. For CPU kernels: no STL, everything inline.
#pragma once
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/view.h"

namespace pumice {

struct Strided2 {
  int64_t rows = 1, cols = 1;             // outer iterations, and the length of the inner loop
  int64_t dst_step = 1, src_step = 1;     // strides of the inner loop
  int rank = 0;                           // outer axes, merged
  int64_t shape[kMaxRank], dst_stride[kMaxRank], src_stride[kMaxRank];

  PUMICE_INLINE Strided2(const View& dst, const View& src) {
    int64_t n[kMaxRank], ds[kMaxRank], ss[kMaxRank];
    int k = 0;
    for (int i = 0; i < dst.rank; ++i) {
      if (dst.shape[i] == 1) { continue; }
      if (k && ds[k - 1] == dst.stride[i] * dst.shape[i] && ss[k - 1] == src.stride[i] * dst.shape[i]) {
        n[k - 1] *= dst.shape[i];
        ds[k - 1] = dst.stride[i];
        ss[k - 1] = src.stride[i];
      } else {
        n[k] = dst.shape[i];
        ds[k] = dst.stride[i];
        ss[k++] = src.stride[i];
      }
    }
    if (k) {
      --k;
      cols = n[k];
      dst_step = ds[k];
      src_step = ss[k];
    }
    rank = k;
    for (int i = 0; i < k; ++i) {
      shape[i] = n[i];
      dst_stride[i] = ds[i];
      src_stride[i] = ss[i];
      rows *= n[i];
    }
  }

  // Offsets, in elements, of the first element of row r.
  PUMICE_INLINE void start(int64_t r, int64_t& d, int64_t& s) const {
    d = s = 0;
    for (int i = rank - 1; i >= 0; --i) {
      int64_t index = r % shape[i];
      r /= shape[i];
      d += index * dst_stride[i];
      s += index * src_stride[i];
    }
  }

  // f(dst offset, src offset, count, dst step, src step), in parallel; one long row is cut into pieces.
  template <class F> PUMICE_INLINE void for_each_row(const F& f) const {
    if (rows == 1) {
      parallel_for(cols, 16384, [&](int64_t begin, int64_t end) {
        f(begin * dst_step, begin * src_step, end - begin, dst_step, src_step);
      });
      return;
    }
    parallel_for(rows, grain_for(cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        int64_t d, s;
        start(r, d, s);
        f(d, s, cols, dst_step, src_step);
      }
    });
  }
};

}  // namespace pumice
