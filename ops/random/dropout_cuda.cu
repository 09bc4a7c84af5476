// dropout on CUDA: a thread draws one block of Philox for four neighbouring elements, as the CPU does, so the masks are the same.
#include "pumice/ops/random/dropout_kernels.h"
#include "pumice/tensor/simt/rows.h"

namespace pumice::cuda {
namespace {

constexpr int kBlock = 256;

template <class T, bool ALIGNED> __global__ void __launch_bounds__(kBlock) drop(T* y, const T* x, int64_t n, RandomKey key_of_launch, float p, float keep) {
  const RandomKey key = with_step(key_of_launch);
  for (int64_t b = int64_t(blockIdx.x) * kBlock + threadIdx.x; b * 4 < n; b += int64_t(gridDim.x) * kBlock) {
    const Random4 r = random4(key, uint64_t(b));
    if (ALIGNED && b * 4 + 4 <= n) {
      simt::Vector<T, 4> v = simt::load_vector<4>(x + b * 4);
      SIMT_UNROLL
      for (int j = 0; j < 4; ++j) { v.v[j] = to_unit(r.v[j]) < p ? T(0.0f) : T(float(v.v[j]) * keep); }
      simt::store_vector(y + b * 4, v);
    } else {
      SIMT_UNROLL
      for (int j = 0; j < 4; ++j) {
        if (b * 4 + j < n) { y[b * 4 + j] = to_unit(r.v[j]) < p ? T(0.0f) : T(float(x[b * 4 + j]) * keep); }
      }
    }
  }
}

}  // namespace

void dropout_kernel(const DropoutArgs& a) {
  const int64_t n = a.x.size();
  if (!n) { return; }
  const simt::Launch cover{.grid = simt::blocks_for(n, kBlock * 4, 65536), .block = kBlock};
  simt::launch_typed(a.x.dtype, [&]<class T>() {
    T* y = a.y.as<T>();
    const T* x = a.x.as<T>();
    const float p = float(a.p), keep = float(1 / (1 - a.p));
    if (simt::aligned16(y, x)) { simt::launch<drop<T, true>>(cover, y, x, n, a.key, p, keep); }
    else { simt::launch<drop<T, false>>(cover, y, x, n, a.key, p, keep); }
  });
}

}  // namespace pumice::cuda
