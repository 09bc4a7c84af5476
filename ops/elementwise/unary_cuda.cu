// Elementwise functions on CUDA: 16 bytes per access where the arrays allow, each element read and written once.
#include "pumice/ops/elementwise/unary_math.h"
#include "pumice/tensor/simt/vectors.h"

namespace pumice::cuda {
namespace {

template <Unary F, class T, int V> __global__ void __launch_bounds__(simt::kVectorBlock) map(T* y, const T* x, int64_t n, float scale, float shift) {
  simt::each_vector<V>(n, [=](int64_t i) {
    simt::Vector<T, V> v = simt::load_vector<V>(x + i);
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { v.v[j] = T(unary_value<F>(float(v.v[j]), scale, shift)); }
    simt::store_vector(y + i, v);
  }, [=](int64_t i) { y[i] = T(unary_value<F>(float(x[i]), scale, shift)); });
}

template <Unary F, class T, int V> __global__ void __launch_bounds__(simt::kVectorBlock) map_bwd(T* dx, const T* dy, const T* saved, int64_t n) {
  simt::each_vector<V>(n, [=](int64_t i) {
    simt::Vector<T, V> g = simt::load_vector<V>(dy + i), s = simt::load_vector<V>(saved + i);
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { g.v[j] = T(float(g.v[j]) * unary_slope<F>(float(s.v[j]))); }
    simt::store_vector(dx + i, g);
  }, [=](int64_t i) { dx[i] = T(float(dy[i]) * unary_slope<F>(float(saved[i]))); });
}

}  // namespace

void unary_fwd(const UnaryFwd& a) {
  const int64_t n = a.x.size();
  if (!n) { return; }
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    simt::with_vector<T>(n, simt::aligned16(a.x.data, a.y.data), [&]<int V>(const simt::Launch& cover) {
      with_unary(a.f, [&]<Unary F>() {
        simt::launch<map<F, T, V>>(cover, a.y.as<T>(), a.x.as<T>(), n, float(a.scale), float(a.shift));
      });
    });
  });
}

void unary_bwd(const UnaryBwd& a) {
  const int64_t n = a.dy.size();
  if (!n) { return; }
  simt::launch_typed(a.dy.dtype, [&]<class T>() {
    const bool aligned = simt::aligned16(a.dx.data, a.dy.data) && (!a.saved || simt::aligned16(a.saved.data));
    simt::with_vector<T>(n, aligned, [&]<int V>(const simt::Launch& cover) {
      with_unary(a.f, [&]<Unary F>() {
        if constexpr (F == Unary::affine) { simt::launch<map<F, T, V>>(cover, a.dx.as<T>(), a.dy.as<T>(), n, float(a.scale), 0.0f); }
        else { simt::launch<map_bwd<F, T, V>>(cover, a.dx.as<T>(), a.dy.as<T>(), a.saved.as<T>(), n); }
      });
    });
  });
}

}  // namespace pumice::cuda
