// CPU kernels of dispatch and combine: rows are copied or scaled as a whole; sums over a token's choices run in order of k.
#include "pumice/moe/dispatch_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {

namespace {

constexpr int64_t kPiece = 256;  // columns whose sums stay in registers and the first-level cache
constexpr int64_t kAhead = 4;    // tokens: rows lie in the order of experts, where no prefetcher finds them

template <class T> PUMICE_INLINE void ask_for(const T* row, int64_t cols) {
  for (int64_t c = 0; c < cols; c += 64 / int64_t(sizeof(T))) { __builtin_prefetch(row + c); }
}
// Asks memory for the rows of y (R, C) that belong to the token kAhead later.
template <class T> PUMICE_INLINE void ask_for_rows(const T* y, const int32_t* row, int64_t choice, int64_t choices, int64_t per_token, int64_t cols) {
  for (int64_t k = choice + kAhead * per_token; k < choice + (kAhead + 1) * per_token && k < choices; ++k) {
    if (row[k] >= 0) { ask_for(y + row[k] * cols, cols); }
  }
}

}  // namespace

void dispatch_rows(const DispatchRows& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    parallel_for(a.rows, grain_for(a.cols), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T* x = a.x.as<T>() + a.token_of_row.as<int32_t>()[r] * a.cols;
        std::memcpy(static_cast<void*>(a.y.as<T>() + r * a.cols), x, size_t(a.cols) * sizeof(T));
      }
    });
  });
}

void combine_rows(const CombineRows& a) {
  dispatch_float(a.y.dtype, [&]<class T>() {
    using A = Acc<T>;
    const int64_t C = a.cols, K = a.per_token;
    const T* y = a.y.as<T>();
    const int32_t* row = a.row.as<int32_t>();
    parallel_for(a.tokens, grain_for((1 + K) * C), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        ask_for_rows(y, row, t * K, a.tokens * K, K, C);
        for (int64_t c0 = 0; c0 < C; c0 += kPiece) {
          const int64_t n = C - c0 < kPiece ? C - c0 : kPiece;
          A sum[kPiece];
          bool any = false;
          for (int64_t k = t * K; k < (t + 1) * K; ++k) {
            if (row[k] < 0) { continue; }
            const A gate = a.gate ? a.gate.as<A>()[k] : A(1);
            const T* from = y + row[k] * C + c0;
            if (any) { for (int64_t c = 0; c < n; ++c) { sum[c] += gate * A(from[c]); } }
            else { for (int64_t c = 0; c < n; ++c) { sum[c] = gate * A(from[c]); } }
            any = true;
          }
          T* out = a.out.as<T>() + t * C + c0;
          if (any) { for (int64_t c = 0; c < n; ++c) { out[c] = T(sum[c]); } }
          else { for (int64_t c = 0; c < n; ++c) { out[c] = T(A(0)); } }
        }
      }
    });
  });
}

void combine_rows_bwd(const CombineRowsBwd& a) {
  dispatch_float(a.y.dtype, [&]<class T>() {
    using A = Acc<T>;
    const int64_t C = a.cols, K = a.per_token;
    parallel_for(a.tokens, grain_for(2 * K * C), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const T* dout = a.dout.as<T>() + t * C;
        if (a.dgate) { ask_for_rows(a.y.as<T>(), a.row.as<int32_t>(), t * K, a.tokens * K, K, C); }
        if (a.dy) { ask_for_rows(a.dy.as<T>(), a.row.as<int32_t>(), t * K, a.tokens * K, K, C); }
        for (int64_t k = 0; k < K; ++k) {
          const int32_t row = a.row.as<int32_t>()[t * K + k];
          if (a.dgate) {
            const T* y = a.y.as<T>() + (row < 0 ? 0 : row) * C;
            a.dgate.as<A>()[t * K + k] = row < 0 ? A(0) : lane_sum<A>(C, [&](int64_t c) { return A(dout[c]) * A(y[c]); });
          }
          if (a.dy && row >= 0) {
            const A gate = a.gate.as<A>()[t * K + k];
            T* dy = a.dy.as<T>() + row * C;
            for (int64_t c = 0; c < C; ++c) { dy[c] = T(gate * A(dout[c])); }
          }
        }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
