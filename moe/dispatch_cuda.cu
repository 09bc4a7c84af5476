// Dispatch and combine on CUDA: pure data movement. Traffic: dispatch reads and writes each row once; combine reads every kept row and writes every
// token once; its backward reads dout K times (from L2 after the first) and y once, and writes dy once.
#include "pumice/moe/dispatch_kernels.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;

// A thread per vector of V columns of one row.
template <class T, int V> __global__ void __launch_bounds__(kBlock)
gather_vectors(T* y, const T* x, const int32_t* token_of_row, int64_t rows, int64_t vectors) {
  for (int64_t i = int64_t(blockIdx.x) * kBlock + threadIdx.x; i < rows * vectors; i += int64_t(gridDim.x) * kBlock) {
    const int64_t r = i / vectors, c = i % vectors * V, cols = vectors * V, token = token_of_row[r];
    simt::store_vector(y + r * cols + c, token < 0 ? simt::Vector<T, V>{} : simt::load_vector<V>(x + token * cols + c));
  }
}

// A thread per vector of one token: its kept rows in order of k, summed in f32. Without gate every kept row counts once.
template <class T, int V> __global__ void __launch_bounds__(kBlock)
combine_vectors(T* out, const T* y, const float* gate, const int32_t* row, int64_t tokens, int64_t K, int64_t vectors) {
  for (int64_t i = int64_t(blockIdx.x) * kBlock + threadIdx.x; i < tokens * vectors; i += int64_t(gridDim.x) * kBlock) {
    const int64_t t = i / vectors, c = i % vectors * V, cols = vectors * V;
    float sum[V] = {};
    for (int64_t k = t * K; k < t * K + K; ++k) {
      if (row[k] < 0) { continue; }
      const float g = gate ? gate[k] : 1.0f;
      const auto v = simt::load_vector<V>(y + row[k] * cols + c);
      SIMT_UNROLL
      for (int j = 0; j < V; ++j) { sum[j] += g * float(v.v[j]); }
    }
    simt::Vector<T, V> result;
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { result.v[j] = T(sum[j]); }
    simt::store_vector(out + t * cols + c, result);
  }
}

// A team per choice: dgate is a dot product over its row, dy a scaled copy of dout. dy or dgate may be null. There are at least as many choices as rows:
// teams also clear the rows of dy behind the *used ones; null: all are used.
template <class T, class Team> __global__ void __launch_bounds__(Team::kBlock, 1)
combine_rows_bwd_teams(T* dy, float* dgate, const T* dout, const T* y, const float* gate, const int32_t* row, int64_t choices, int64_t K,
                       int64_t cols, const int32_t* used, int64_t rows) {
  const int64_t i = Team::number();
  if (i >= choices) { return; }
  const bool first_thread = threadIdx.x % (Team::kBlock / Team::kTeams) == 0;
  if (dy && used && i < rows && i >= *used) {
    T* rest = dy + i * cols;
    Team::each(cols, [&](int, int64_t c) { simt::store_vector(rest + c, simt::Vector<T, Team::kVector>{}); });
  }
  const int64_t r = row[i];
  if (r < 0) {
    if (dgate && first_thread) { dgate[i] = 0; }
    return;
  }
  const simt::Row<T, Team> d(dout + int64_t(uint32_t(i) / uint32_t(K)) * cols, cols);  // row numbers are 32 bits, and so is this division
  if (dgate) {
    const simt::Row<T, Team> of_expert(y + r * cols, cols);
    const float dot = simt::row_sum(cols, [](int64_t, float v, float e) { return v * e; }, d, of_expert);
    if (first_thread) { dgate[i] = dot; }
  }
  if (dy) {
    const float g = gate[i];
    simt::row_store(dy + r * cols, cols, [=](int64_t, float v) { return g * v; }, d);
  }
}

// Calls f.template operator()<T, V>() with the widest vectors that C and the addresses allow.
template <class F, class... P> void with_vectors(DType dtype, int64_t cols, const F& f, const P*... p) {
  simt::launch_typed(dtype, [&]<class T>() {
    if (simt::aligned16(p...) && cols % simt::kVectorOf<T> == 0) { f.template operator()<T, simt::kVectorOf<T>>(); }
    else { f.template operator()<T, 1>(); }
  });
}

}  // namespace

void dispatch_rows(const DispatchRows& a) {
  if (!a.rows || !a.cols) { return; }
  with_vectors(a.x.dtype, a.cols, [&]<class T, int V>() {
    const int64_t vectors = a.cols / V;
    simt::launch<gather_vectors<T, V>>({.grid = simt::blocks_for(a.rows * vectors, kBlock), .block = kBlock}, a.y.as<T>(), a.x.as<T>(),
                                       a.token_of_row.as<int32_t>(), a.rows, vectors);
  }, a.x.data, a.y.data);
}

void combine_rows(const CombineRows& a) {
  if (!a.tokens || !a.cols) { return; }
  with_vectors(a.y.dtype, a.cols, [&]<class T, int V>() {
    const int64_t vectors = a.cols / V;
    simt::launch<combine_vectors<T, V>>({.grid = simt::blocks_for(a.tokens * vectors, kBlock), .block = kBlock}, a.out.as<T>(), a.y.as<T>(),
                                        a.gate.as<float>(), a.row.as<int32_t>(), a.tokens, a.per_token, vectors);
  }, a.y.data, a.out.data);
}

void combine_rows_bwd(const CombineRowsBwd& a) {
  if (!a.tokens) { return; }
  simt::launch_typed(a.y.dtype, [&]<class T>() {
    const T *dout = a.dout.as<T>(), *y = a.y.as<T>();
    T* dy = a.dy.as<T>();
    const int64_t choices = a.tokens * a.per_token;
    const int32_t* used = a.expert_offsets ? a.expert_offsets.as<int32_t>() + a.expert_offsets.shape[0] - 1 : nullptr;
    simt::with_row_team<T>(a.cols, simt::aligned16(dout, y, dy), [&]<class Team>() {
      simt::launch<combine_rows_bwd_teams<T, Team>>(Team::cover(choices), dy, a.dgate.as<float>(), dout, y, a.gate.as<float>(), a.row.as<int32_t>(),
                                                    choices, a.per_token, a.cols, used, a.y.shape[0]);
    });
  });
}

}  // namespace pumice::cuda
