// Elementwise functions on CUDA: 16 bytes per access where the arrays allow, each element read and written once.
#include "pumice/ops/elementwise/unary_math.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;

// f(i) for vectors i < n / V of this thread, then tail(i) for the n % V elements behind them.
template <int V, class F, class G> __device__ __forceinline__ void each_vector(int64_t n, const F& f, const G& tail) {
  const int64_t thread = int64_t(blockIdx.x) * kBlock + threadIdx.x, threads = int64_t(gridDim.x) * kBlock;
  for (int64_t i = thread; i < n / V; i += threads) { f(i * V); }
  for (int64_t i = n / V * V + thread; i < n; i += threads) { tail(i); }
}

template <Unary F, class T, int V> __global__ void __launch_bounds__(kBlock) map(T* y, const T* x, int64_t n, float scale, float shift) {
  each_vector<V>(n, [=](int64_t i) {
    simt::Vector<T, V> v = simt::load_vector<V>(x + i);
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { v.v[j] = T(unary_value<F>(float(v.v[j]), scale, shift)); }
    simt::store_vector(y + i, v);
  }, [=](int64_t i) { y[i] = T(unary_value<F>(float(x[i]), scale, shift)); });
}

template <Unary F, class T, int V> __global__ void __launch_bounds__(kBlock) map_bwd(T* dx, const T* dy, const T* saved, int64_t n) {
  each_vector<V>(n, [=](int64_t i) {
    simt::Vector<T, V> g = simt::load_vector<V>(dy + i), s = simt::load_vector<V>(saved + i);
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { g.v[j] = T(float(g.v[j]) * unary_slope<F>(float(s.v[j]))); }
    simt::store_vector(dx + i, g);
  }, [=](int64_t i) { dx[i] = T(float(dy[i]) * unary_slope<F>(float(saved[i]))); });
}

template <class T, class F> void with_vector(bool aligned, const F& f) {
  if (aligned) { f.template operator()<simt::kVectorOf<T>>(); }
  else { f.template operator()<1>(); }
}

}  // namespace

void unary_fwd(const UnaryFwd& a) {
  const int64_t n = a.x.size();
  if (!n) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    with_vector<T>(simt::aligned16(a.x.data, a.y.data), [&]<int V>() {
      with_unary(a.f, [&]<Unary F>() {
        simt::launch<map<F, T, V>>({.grid = simt::blocks_for(n, kBlock * V, 65536), .block = kBlock}, a.y.as<T>(), a.x.as<T>(), n, float(a.scale),
                                   float(a.shift));
      });
    });
  });
}

void unary_bwd(const UnaryBwd& a) {
  const int64_t n = a.dy.size();
  if (!n) { return; }
  simt::launch_typed(a.dy.dtype, [&]<class T>() {
    with_vector<T>(simt::aligned16(a.dx.data, a.dy.data) && (!a.saved || simt::aligned16(a.saved.data)), [&]<int V>() {
      const simt::Launch cover{.grid = simt::blocks_for(n, kBlock * V, 65536), .block = kBlock};
      with_unary(a.f, [&]<Unary F>() {
        if constexpr (F == Unary::affine) { simt::launch<map<F, T, V>>(cover, a.dx.as<T>(), a.dy.as<T>(), n, float(a.scale), 0.0f); }
        else { simt::launch<map_bwd<F, T, V>>(cover, a.dx.as<T>(), a.dy.as<T>(), a.saved.as<T>(), n); }
      });
    });
  });
}

}  // namespace pumice::cuda
