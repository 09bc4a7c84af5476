// Walks three views of one shape row by row, with neighbouring axes merged where all are dense. For CPU kernels: no STL.
#pragma once
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/view.h"

namespace pumice {

struct Strided3 {
  int64_t rows = 1, cols = 1;
  int64_t step[3] = {1, 1, 1};  // of the inner loop
  int rank = 0;
  int64_t shape[kMaxRank], stride[kMaxRank][3];

  PUMICE_INLINE Strided3(const View& y, const View& a, const View& b) {
    int k = 0;
    for (int i = 0; i < y.rank; ++i) {
      if (y.shape[i] == 1) { continue; }
      const int64_t s[3] = {y.stride[i], a.stride[i], b.stride[i]};
      bool merges = k > 0;
      for (int j = 0; merges && j < 3; ++j) { merges = stride[k - 1][j] == s[j] * y.shape[i]; }
      if (merges) { shape[k - 1] *= y.shape[i]; }
      else { shape[k++] = y.shape[i]; }
      for (int j = 0; j < 3; ++j) { stride[k - 1][j] = s[j]; }
    }
    if (k) {
      cols = shape[--k];
      for (int j = 0; j < 3; ++j) { step[j] = stride[k][j]; }
    }
    rank = k;
    for (int i = 0; i < k; ++i) { rows *= shape[i]; }
  }

  PUMICE_INLINE void start(int64_t r, int64_t at[3]) const {
    at[0] = at[1] = at[2] = 0;
    for (int i = rank - 1; i >= 0; --i) {
      int64_t index = r % shape[i];
      r /= shape[i];
      for (int j = 0; j < 3; ++j) { at[j] += index * stride[i][j]; }
    }
  }

  // f(offsets of y, a and b, count), in parallel; one long row is cut into pieces.
  template <class F> PUMICE_INLINE void for_each_row(const F& f) const {
    if (rows == 1) {
      parallel_for(cols, 16384, [&](int64_t begin, int64_t end) {
        const int64_t at[3] = {begin * step[0], begin * step[1], begin * step[2]};
        f(at, end - begin);
      });
      return;
    }
    parallel_for(rows, grain_for(cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        int64_t at[3];
        start(r, at);
        f(at, cols);
      }
    });
  }
};

}  // namespace pumice
