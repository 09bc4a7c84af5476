#include "pumice/ops/random/dropout_kernels.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/philox_lanes.h"

namespace pumice::PUMICE_ISA {

void dropout_kernel(const DropoutArgs& a) {
  const int64_t n = a.x.size();
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A keep = A(1 / (1 - a.p));
    const float p = float(a.p);
    const T* x = a.x.as<T>();
    T* y = a.y.as<T>();
    parallel_for(n, 4096, [&](int64_t begin, int64_t end) {  // a multiple of 64: blocks of Philox do not straddle pieces
      constexpr int64_t kWords = 4 * kPhiloxLanes;
      uint32_t words[kWords];
      for (int64_t i = begin; i < end; i += kWords) {
        random_words(a.key, uint64_t(i / 4), words);
        const int64_t count = end - i < kWords ? end - i : kWords;
        for (int64_t j = 0; j < count; ++j) {
          const A kept = A(x[i + j]) * keep;
          y[i + j] = T(to_unit(words[j]) < p ? A(0) : kept);
        }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
