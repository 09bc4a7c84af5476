// Kernels that go row by row. A team of TEAM threads, a warp or a block, owns a row of C elements; each thread takes vectors of V neighbours and,
// where the row is short enough, holds them in registers, so that memory is read once however many passes the formula needs.
#pragma once
#include "pumice/tensor/simt/simt.h"

namespace pumice::simt {

// V neighbours, moved by instructions of at most 16 bytes; p is a multiple of what one moves.
template <class T, int V> struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Vector { T v[V]; };
template <int V, class T> __device__ __forceinline__ Vector<T, V> load_vector(const T* p) {
  constexpr int bytes = int(sizeof(T)) * V, step = bytes < 16 ? bytes : 16;
  using Word = typename WordOf<step>::type;
  Vector<T, V> v;
  SIMT_UNROLL
  for (int i = 0; i < bytes / step; ++i) {
    const Word word = reinterpret_cast<const Word*>(p)[i];
    std::memcpy(reinterpret_cast<char*>(&v) + i * step, &word, step);
  }
  return v;
}
template <int V, class T> __device__ __forceinline__ void store_vector(T* p, const Vector<T, V>& v) {
  constexpr int bytes = int(sizeof(T)) * V, step = bytes < 16 ? bytes : 16;
  using Word = typename WordOf<step>::type;
  SIMT_UNROLL
  for (int i = 0; i < bytes / step; ++i) {
    Word word;
    std::memcpy(&word, reinterpret_cast<const char*>(&v) + i * step, step);
    reinterpret_cast<Word*>(p)[i] = word;
  }
}

template <class T> inline constexpr int kVectorOf = 16 / int(sizeof(T));  // elements in 16 bytes
inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }
template <class... P> bool aligned16(const void* p, const P*... more) { return aligned16(p) && (aligned16(more) && ...); }

// HELD: how many elements of its row a thread keeps in registers; 0 reads memory again in every pass, for rows of any length.
template <int V, int TEAM, int HELD> struct RowTeam {
  static constexpr int kVector = V, kHeld = HELD, kVectors = HELD ? HELD / V : 1;
  static constexpr int kBlock = TEAM == 32 ? 128 : TEAM, kTeams = kBlock / TEAM;  // threads and teams of a block

  static __device__ __forceinline__ int64_t number() { return int64_t(blockIdx.x) * kTeams + threadIdx.x / TEAM; }
  static Launch cover(int64_t teams) { return {.grid = unsigned((teams + kTeams - 1) / kTeams), .block = kBlock}; }

  // f(k, c): number and first column of each of this thread's vectors.
  template <class F> static __device__ __forceinline__ void each(int64_t cols, const F& f) {
    const int64_t first = int64_t(threadIdx.x % TEAM) * V;
    if constexpr (HELD) {
      SIMT_UNROLL
      for (int k = 0; k < kVectors; ++k) {
        if (first + k * TEAM * V < cols) { f(k, first + k * TEAM * V); }
      }
    } else {
      for (int64_t c = first; c < cols; c += TEAM * V) { f(0, c); }
    }
  }
  template <class A, class Op> static __device__ __forceinline__ A reduce(A v, Op op, A identity) {
    if constexpr (TEAM == 32) { return warp_reduce(v, op); }
    else { return block_reduce(v, op, identity); }
  }
};

// A row as its team sees it.
template <class T, class Owner> struct Row {
  using Team = Owner;
  const T* from;
  Vector<T, Team::kVector> held[Team::kVectors];

  __device__ __forceinline__ Row(const T* p, int64_t cols) : from(p) {
    if constexpr (Team::kHeld) {
      Team::each(cols, [&](int k, int64_t c) { held[k] = load_vector<Team::kVector>(from + c); });
    }
  }
  __device__ __forceinline__ Vector<T, Team::kVector> at(int k, int64_t c) const {
    if constexpr (Team::kHeld) { return held[k]; }
    else { return load_vector<Team::kVector>(from + c); }
  }
};

// What all rows share, such as the weight of a norm: read whenever it is used, from the caches. Aligned as the rows are.
template <class T, class Owner> struct SharedRow {
  using Team = Owner;
  const T* from;
  __device__ __forceinline__ Vector<T, Team::kVector> at(int, int64_t c) const { return load_vector<Team::kVector>(from + c); }
};

// f(c, values of the rows at c...) for each column of this thread.
template <class F, class First, class... Rest> __device__ __forceinline__ void each_column(int64_t cols, const F& f, const First& first, const Rest&... rest) {
  using Team = typename First::Team;
  Team::each(cols, [&](int k, int64_t c) {
    [&](const auto&... v) {
      SIMT_UNROLL
      for (int j = 0; j < Team::kVector; ++j) { f(c + j, float(v.v[j])...); }
    }(first.at(k, c), rest.at(k, c)...);
  });
}
template <class F, class First, class... Rest> __device__ __forceinline__ float row_sum(int64_t cols, const F& f, const First& first, const Rest&... rest) {
  float sum = 0;
  each_column(cols, [&](int64_t c, auto... x) { sum += f(c, x...); }, first, rest...);
  return First::Team::reduce(sum, Sum(), 0.0f);
}
// From the lowest finite number on, as the CPU: a row of nothing but -inf gives that.
template <class T, class Team> __device__ __forceinline__ float row_max(int64_t cols, const Row<T, Team>& row) {
  float top = -__FLT_MAX__;
  each_column(cols, [&](int64_t, float x) { top = Max()(top, x); }, row);
  return Team::reduce(top, Max(), -__FLT_MAX__);
}
// y[c] = f(c, values at c...)
template <class Y, class F, class First, class... Rest>
__device__ __forceinline__ void row_store(Y* y, int64_t cols, const F& f, const First& first, const Rest&... rest) {
  using Team = typename First::Team;
  Team::each(cols, [&](int k, int64_t c) {
    Vector<Y, Team::kVector> out;
    [&](const auto&... v) {
      SIMT_UNROLL
      for (int j = 0; j < Team::kVector; ++j) { out.v[j] = Y(f(c + j, float(v.v[j])...)); }
    }(first.at(k, c), rest.at(k, c)...);
    store_vector(y + c, out);
  });
}

// y[c] = beta y[c] + f(c, values at c...)
template <class Y, class F, class First, class... Rest>
__device__ __forceinline__ void row_store_sum(Y* y, int64_t cols, int beta, const F& f, const First& first, const Rest&... rest) {
  if (beta) {
    const SharedRow<Y, typename First::Team> before{y};
    row_store(y, cols, [&](int64_t c, float sum, auto... x) { return sum + f(c, x...); }, before, first, rest...);
  } else {
    row_store(y, cols, f, first, rest...);
  }
}

// Host: calls f.template operator()<Team>() for rows of `cols` elements of T. aligned: every row begins at a multiple of 16 bytes.
//   up to 1024 columns   a warp per row, four rows per block
//   up to 8192           a block of 256 threads per row
//   more                 the same, reading memory in every pass
template <class T, class F> void with_row_team(int64_t cols, bool aligned, const F& f) {
  const auto choose = [&]<int V>() {
    if (cols <= 1024) { f.template operator()<RowTeam<V, 32, 32>>(); }
    else if (cols <= 8192) { f.template operator()<RowTeam<V, 256, 32>>(); }
    else { f.template operator()<RowTeam<V, 256, 0>>(); }
  };
  if (aligned && cols % kVectorOf<T> == 0) { choose.template operator()<kVectorOf<T>>(); }
  else { choose.template operator()<1>(); }
}


// The same for kernels whose teams take many rows and also keep up to two f32 sums per column in registers: blocks beyond 256 columns. Rows of more
// than kMostSummingColumns need another kernel.
inline constexpr int64_t kMostSummingColumns = 8192;
template <class T, class F> void with_summing_row_team(int64_t cols, bool aligned, const F& f) {
  const auto choose = [&]<int V>() {
    if (cols <= 256) { f.template operator()<RowTeam<V, 32, 8>>(); }
    else if (cols <= 2048) { f.template operator()<RowTeam<V, 256, 8>>(); }
    else { f.template operator()<RowTeam<V, 256, 32>>(); }
  };
  if (aligned && cols % kVectorOf<T> == 0) { choose.template operator()<kVectorOf<T>>(); }
  else { choose.template operator()<1>(); }
}

}  // namespace pumice::simt
