// swiglu on CUDA: every operand read once and every result written once, 16 bytes per access where the arrays allow. The backward pass makes both
// gradients from one exponential.
#include "pumice/ops/elementwise/swiglu_kernels.h"
#include "pumice/ops/elementwise/unary_math.h"
#include "pumice/tensor/simt/vectors.h"

namespace pumice::cuda {
namespace {

// y, gate and up (n), packed.
template <class T, int V> __global__ void __launch_bounds__(simt::kVectorBlock) swiglu_vectors(T* y, const T* gate, const T* up, int64_t n) {
  simt::each_vector<V>(n, [=](int64_t i) {
    const simt::Vector<T, V> u = simt::load_vector<V>(up + i);
    simt::Vector<T, V> g = simt::load_vector<V>(gate + i);
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { g.v[j] = T(swish(float(g.v[j]), 1.0f) * float(u.v[j])); }
    simt::store_vector(y + i, g);
  }, [=](int64_t i) { y[i] = T(swish(float(gate[i]), 1.0f) * float(up[i])); });
}

// All (n), packed.
template <class T, int V>
__global__ void __launch_bounds__(simt::kVectorBlock) swiglu_vectors_bwd(T* dgate, T* dup, const T* dy, const T* gate, const T* up, int64_t n) {
  simt::each_vector<V>(n, [=](int64_t i) {
    const simt::Vector<T, V> d = simt::load_vector<V>(dy + i);
    simt::Vector<T, V> g = simt::load_vector<V>(gate + i), u = simt::load_vector<V>(up + i);
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) {
      const float x = float(g.v[j]), dyj = float(d.v[j]);
      g.v[j] = T(dyj * float(u.v[j]) * swish_slope(x, 1.0f));
      u.v[j] = T(dyj * swish(x, 1.0f));
    }
    simt::store_vector(dgate + i, g);
    simt::store_vector(dup + i, u);
  }, [=](int64_t i) {
    const float x = float(gate[i]), dyi = float(dy[i]);
    dgate[i] = T(dyi * float(up[i]) * swish_slope(x, 1.0f));
    dup[i] = T(dyi * swish(x, 1.0f));
  });
}

}  // namespace

void swiglu_fwd(const SwigluFwd& a) {
  const int64_t n = a.y.size();
  simt::launch_typed(a.y.dtype, [&]<class T>() {
    simt::with_vector<T>(n, simt::aligned16(a.y.data, a.gate.data, a.up.data), [&]<int V>(const simt::Launch& cover) {
      simt::launch<swiglu_vectors<T, V>>(cover, a.y.as<T>(), a.gate.as<T>(), a.up.as<T>(), n);
    });
  });
}

void swiglu_bwd(const SwigluBwd& a) {
  const int64_t n = a.dy.size();
  simt::launch_typed(a.dy.dtype, [&]<class T>() {
    const bool aligned = simt::aligned16(a.dgate.data, a.dup.data, a.dy.data, a.gate.data, a.up.data);
    simt::with_vector<T>(n, aligned, [&]<int V>(const simt::Launch& cover) {
      simt::launch<swiglu_vectors_bwd<T, V>>(cover, a.dgate.as<T>(), a.dup.as<T>(), a.dy.as<T>(), a.gate.as<T>(), a.up.as<T>(), n);
    });
  });
}

}  // namespace pumice::cuda
