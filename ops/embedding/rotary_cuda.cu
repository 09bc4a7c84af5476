// rotary on CUDA. A block owns a token and computes its cosines once for all heads. Traffic: x is read and y written once, and every token reads its
// position and the frequencies. The angles of long contexts are thousands of turns: sincosf, because __sincosf is exact only within [-pi, pi].
#include "pumice/ops/embedding/rotary_kernels.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 128;

// Angle i lies at i % V * kStep + i / V: neither the threads that write nor, V neighbours each, those that read meet in a bank.
template <int V> inline constexpr int kStep = (kBlock + 32) / V;

// Grid: T blocks. x (T, H, D) with strides in elements and dense D, y likewise; half = R / 2. V: neighbours moved at once, divides half and D.
template <class T, int V> __global__ void __launch_bounds__(kBlock)
rotate_token(T* y, int64_t y_token, int64_t y_head, const T* x, int64_t x_token, int64_t x_head, const int32_t* positions, const float* frequencies,
             int heads, int D, int half, float sign, float scale) {
  SIMT_SHARED(float, cosine, [V * kStep<V>]);
  SIMT_SHARED(float, sine, [V * kStep<V>]);
  const T* from = x + blockIdx.x * x_token;
  T* to = y + blockIdx.x * y_token;
  const int thread = int(threadIdx.x);
  for (int first = 0; first < half; first += kBlock) {  // as many frequencies as there are threads
    const int count = min(half - first, kBlock), vectors = count / V;
    __syncthreads();
    if (thread < count) {
      float s, c;
      sincosf(float(positions[blockIdx.x]) * frequencies[first + thread], &s, &c);
      cosine[thread % V * kStep<V> + thread / V] = scale * c;
      sine[thread % V * kStep<V> + thread / V] = sign * scale * s;
    }
    __syncthreads();
    for (int item = thread; item < heads * vectors; item += kBlock) {
      const int head = item / vectors, i = item % vectors;
      const T* p = from + head * x_head + first + i * V;
      T* q = to + head * y_head + first + i * V;
      simt::Vector<T, V> a = simt::load_vector<V>(p), b = simt::load_vector<V>(p + half);
      SIMT_UNROLL
      for (int j = 0; j < V; ++j) {
        const float u = float(a.v[j]), v = float(b.v[j]), c = cosine[j * kStep<V> + i], s = sine[j * kStep<V> + i];
        a.v[j] = T(u * c - v * s);
        b.v[j] = T(v * c + u * s);
      }
      simt::store_vector(q, a);
      simt::store_vector(q + half, b);
    }
  }
  const int rest = (D - 2 * half) / V;  // elements that pass
  for (int item = thread; item < heads * rest; item += kBlock) {
    const int head = item / rest, d = 2 * half + item % rest * V;
    simt::store_vector(to + head * y_head + d, simt::load_vector<V>(from + head * x_head + d));
  }
}

}  // namespace

void rotary_kernel(const RotaryArgs& a) {
  const int64_t T = a.x.shape[0], H = a.x.shape[1], D = a.x.shape[2], half = a.frequencies.shape[0];
  simt::launch_typed(a.x.dtype, [&]<class X>() {
    const auto run = [&]<int V>() {
      simt::launch<rotate_token<X, V>>({.grid = unsigned(T), .block = kBlock}, a.y.as<X>(), a.y.stride[0], a.y.stride[1], a.x.as<X>(), a.x.stride[0],
                                       a.x.stride[1], a.positions.as<int32_t>(), a.frequencies.as<float>(), int(H), int(D), int(half), float(a.sign),
                                       float(a.scale));
    };
    constexpr int V = simt::kVectorOf<X>;
    const auto whole = [&](const View& v) { return simt::aligned16(v.data) && v.stride[0] % V == 0 && v.stride[1] % V == 0; };
    if (half % V == 0 && D % V == 0 && whole(a.x) && whole(a.y)) { run.template operator()<V>(); }
    else { run.template operator()<1>(); }
  });
}

}  // namespace pumice::cuda
