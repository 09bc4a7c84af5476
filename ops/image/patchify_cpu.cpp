// CPU kernel of patchify: one row of pixels at a time, which is one row of each patch it crosses. The three channels' gain and
// bias are laid out over 48 bytes, the shortest run that is whole pixels and whole vectors.
#include "pumice/ops/image/patchify_kernels.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int kRun = 48;

template <class A> struct PixelRun {
  A gain[kRun], bias[kRun];
};

template <class T> PUMICE_INLINE void scale_pixels(T* y, const uint8_t* x, int64_t n, const PixelRun<Acc<T>>& run) {
  using A = Acc<T>;
  int64_t i = 0;
  for (; i + kRun <= n; i += kRun) {
    for (int j = 0; j < kRun; ++j) { y[i + j] = T(A(x[i + j]) * run.gain[j] + run.bias[j]); }
  }
  for (int64_t j = 0; i + j < n; ++j) { y[i + j] = T(A(x[i + j]) * run.gain[j] + run.bias[j]); }
}

}  // namespace

void patchify_fwd(const PatchifyFwd& a) {
  dispatch_float(a.y.dtype, [&]<class T>() {
    PixelRun<Acc<T>> run;
    for (int j = 0; j < kRun; ++j) {
      run.gain[j] = Acc<T>(a.gain[j % 3]);
      run.bias[j] = Acc<T>(a.bias[j % 3]);
    }
    const int64_t p = a.patch, across = a.width / p, row = p * 3, size = p * row;
    parallel_for(a.batch * a.height, grain_for(a.width * 3), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {  // r = (b, h): p divides H, so patch rows never straddle two images
        const uint8_t* x = a.pixels.as<uint8_t>() + r * a.width * 3;
        T* y = a.y.as<T>() + (r / p) * across * size + (r % p) * row;
        for (int64_t patch = 0; patch < across; ++patch) { scale_pixels(y + patch * size, x + patch * row, row, run); }
      }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
