// CPU kernels of dispatch and combine: rows are copied or scaled as a whole; sums over a token's choices run in order of k.
#include "pumice/moe/dispatch_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {

namespace {
constexpr int64_t kPiece = 256;  // columns whose sums stay in registers and the first-level cache
}

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
    parallel_for(a.tokens, grain_for((1 + K) * C), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t c0 = 0; c0 < C; c0 += kPiece) {
          const int64_t n = C - c0 < kPiece ? C - c0 : kPiece;
          A sum[kPiece] = {};
          for (int64_t k = 0; k < K; ++k) {
            const int32_t row = a.row.as<int32_t>()[t * K + k];
            if (row < 0) { continue; }
            const A gate = a.gate ? a.gate.as<A>()[t * K + k] : A(1);
            const T* y = a.y.as<T>() + row * C + c0;
            for (int64_t c = 0; c < n; ++c) { sum[c] += gate * A(y[c]); }
          }
          T* out = a.out.as<T>() + t * C + c0;
          for (int64_t c = 0; c < n; ++c) { out[c] = T(sum[c]); }
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
