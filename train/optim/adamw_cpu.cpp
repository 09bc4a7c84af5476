// One pass over parameters, gradients and both moments; one pass over gradients for their norm.
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/train/optim/adamw_kernels.h"

namespace pumice::PUMICE_ISA {

void adamw_step(const AdamWStep& a) {
  float* __restrict p = a.p.as<float>();
  float* __restrict m = a.m.as<float>();
  float* __restrict v = a.v.as<float>();
  const float* __restrict g = a.g.as<float>();
  parallel_for(a.end - a.begin, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = a.begin + begin; i < a.begin + end; ++i) {
      float gi = g[i] * a.gradient_scale;
      float mi = a.beta1 * m[i] + (1 - a.beta1) * gi;
      float vi = a.beta2 * v[i] + (1 - a.beta2) * gi * gi;
      m[i] = mi;
      v[i] = vi;
      p[i] -= a.lr * (mi * a.correction1 / (sqrt_of(vi * a.correction2) + a.eps) + a.decay * p[i]);
    }
  });
}

void sum_squares(const SumSquares& a) {
  const float* x = a.x.as<float>();
  double* partial = a.partial.as<double>();
  parallel_for(a.n, a.block, [&](int64_t begin, int64_t end) {
    partial[begin / a.block] = lane_sum<double>(end - begin, [&](int64_t i) { return double(x[begin + i]) * double(x[begin + i]); });
  });
}

}  // namespace pumice::PUMICE_ISA
