#include <cmath>

#include "pumice/ops/embedding/rotary_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {

void rotary_kernel(const RotaryArgs& a) {
  const int64_t H = a.x.shape[1], D = a.x.shape[2], half = a.frequencies.shape[0];
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    parallel_for(a.x.shape[0], grain_for(4 * H * D), [&](int64_t begin, int64_t end) {
      A* cosine = scratch<A>(0, 2 * half);
      A* sine = cosine + half;
      for (int64_t t = begin; t < end; ++t) {
        for (int64_t i = 0; i < half; ++i) {
          const A angle = A(a.positions.as<int32_t>()[t]) * A(a.frequencies.as<float>()[i]);
          cosine[i] = A(a.scale * ::cos(double(angle)));
          sine[i] = A(a.sign * a.scale * ::sin(double(angle)));
        }
        for (int64_t h = 0; h < H; ++h) {
          const T* x = a.x.as<T>() + t * a.x.stride[0] + h * a.x.stride[1];
          T* y = a.y.as<T>() + t * a.y.stride[0] + h * a.y.stride[1];
          for (int64_t i = 0; i < half; ++i) {
            const A first = A(x[i]), second = A(x[i + half]);
            y[i] = T(first * cosine[i] - second * sine[i]);
            y[i + half] = T(second * cosine[i] + first * sine[i]);
          }
          for (int64_t d = 2 * half; d < D; ++d) { y[d] = x[d]; }
        }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
