// y = a op b on CUDA. Packed operands (or one repeated element) go 16 bytes at a time; other strides and broadcasts one element at a time, where
// neighbouring threads still take neighbouring elements of y.
#include "pumice/ops/elementwise/arithmetic_kernels.h"
#include "pumice/tensor/simt/rows.h"
#include "pumice/tensor/simt/strided.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;

template <Arithmetic OP> __device__ __forceinline__ float apply(float a, float b) {
  if constexpr (OP == Arithmetic::add) { return a + b; }
  else if constexpr (OP == Arithmetic::sub) { return a - b; }
  else if constexpr (OP == Arithmetic::mul) { return a * b; }
  else { return a / b; }
}

// REPEATED_B: b is one element.
template <Arithmetic OP, class T, int V, bool REPEATED_B> __global__ void __launch_bounds__(kBlock)
arithmetic_dense(T* y, const T* a, const T* b, int64_t n) {
  const float all = REPEATED_B ? float(*b) : 0.0f;
  for (int64_t i = (int64_t(blockIdx.x) * kBlock + threadIdx.x) * V; i < n; i += int64_t(gridDim.x) * kBlock * V) {
    simt::Vector<T, V> va = simt::load_vector<V>(a + i), vb;
    if constexpr (!REPEATED_B) { vb = simt::load_vector<V>(b + i); }
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { va.v[j] = T(apply<OP>(float(va.v[j]), REPEATED_B ? all : float(vb.v[j]))); }
    simt::store_vector(y + i, va);
  }
}

template <Arithmetic OP, class T> __global__ void __launch_bounds__(kBlock) arithmetic_strided(simt::Walk<3> walk, T* y, const T* a, const T* b) {
  for (int64_t i = int64_t(blockIdx.x) * kBlock + threadIdx.x; i < walk.size; i += int64_t(gridDim.x) * kBlock) {
    int64_t at[3];
    walk.offsets(i, at);
    y[at[0]] = T(apply<OP>(float(a[at[1]]), float(b[at[2]])));
  }
}

template <Arithmetic OP, class T> void run(const simt::Walk<3>& walk, T* y, const T* a, const T* b) {
  const int64_t n = walk.size;
  const bool whole = n % simt::kVectorOf<T> == 0 && simt::aligned16(y, a) && walk.dense(0) && walk.dense(1);
  constexpr int V = simt::kVectorOf<T>;
  const simt::Launch cover{.grid = simt::blocks_for(n, kBlock * V, 65536), .block = kBlock};
  if (whole && walk.dense(2) && simt::aligned16(b)) { simt::launch<arithmetic_dense<OP, T, V, false>>(cover, y, a, b, n); }
  else if (whole && walk.repeated(2)) { simt::launch<arithmetic_dense<OP, T, V, true>>(cover, y, a, b, n); }
  else { simt::launch<arithmetic_strided<OP, T>>({.grid = simt::blocks_for(n, kBlock * 4, 65536), .block = kBlock}, walk, y, a, b); }
}

}  // namespace

void arithmetic(const ArithmeticArgs& args) {
  const simt::Walk<3> walk(args.y, args.a, args.b);
  if (!walk.size) { return; }
  simt::launch_typed(args.y.dtype, [&]<class T>() {
    T* y = args.y.as<T>();
    const T *a = args.a.as<T>(), *b = args.b.as<T>();
    switch (args.op) {
      case Arithmetic::add: return run<Arithmetic::add>(walk, y, a, b);
      case Arithmetic::sub: return run<Arithmetic::sub>(walk, y, a, b);
      case Arithmetic::mul: return run<Arithmetic::mul>(walk, y, a, b);
      case Arithmetic::div: return run<Arithmetic::div>(walk, y, a, b);
    }
  });
}

}  // namespace pumice::cuda
