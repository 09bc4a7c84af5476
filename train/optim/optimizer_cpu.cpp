// One pass over parameters, gradients and moments each; of a factored moment two, since its means come first. Sums are taken in fixed
// blocks, so the thread count does not matter.
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"
#include "pumice/train/optim/optimizer_kernels.h"

namespace pumice::PUMICE_ISA {
namespace {

constexpr int64_t kGrain = 16384;
constexpr float kTiny = 1e-30f;  // added to squares, so that a zero gradient divides by something

// What is kept of a momentum, M, and what the update is made of.
template <class M> PUMICE_INLINE float moved(M& m, float beta, float u) {
  const float average = beta * float(m) + (1 - beta) * u;
  m = M(average);
  return average;
}

template <class M> void adafactor_full(const AdafactorStep& a) {
  parallel_for(a.cols, kGrain, [&](int64_t begin, int64_t end) {
    float* __restrict p = a.p;
    M* __restrict m = a.m.as<M>();
    float* __restrict v = a.v;
    const float* __restrict g = a.g;
    for (int64_t i = begin; i < end; ++i) {
      const float gi = g[i] * a.gradient_scale, vi = a.beta2 * v[i] + (1 - a.beta2) * (gi * gi + kTiny);
      float u = gi / sqrt_of(vi);
      v[i] = vi;
      if (m) { u = moved(m[i], a.beta1, u); }
      p[i] -= a.lr * u + a.decay * p[i];
    }
  });
}

template <class M> void adafactor_factored(const AdafactorStep& a) {  // of one matrix
  const int64_t blocks = (a.rows + kAdafactorRows - 1) / kAdafactorRows;
  parallel_blocks(blocks, [&](int64_t b) {
    double* column_sum = a.partial + b * a.cols;
    for (int64_t c = 0; c < a.cols; ++c) { column_sum[c] = 0; }
    for (int64_t r = b * kAdafactorRows; r < a.rows && r < (b + 1) * kAdafactorRows; ++r) {
      const float* g = a.g + r * a.cols;
      auto square = [&](int64_t c) { return g[c] * a.gradient_scale * (g[c] * a.gradient_scale) + kTiny; };
      for (int64_t c = 0; c < a.cols; ++c) { column_sum[c] += double(square(c)); }
      a.row[r] = a.beta2 * a.row[r] + (1 - a.beta2) * float(lane_sum<double>(a.cols, [&](int64_t c) { return double(square(c)); }) / double(a.cols));
    }
  });
  for (int64_t b = 1; b < blocks; ++b) {
    for (int64_t c = 0; c < a.cols; ++c) { a.partial[c] += a.partial[b * a.cols + c]; }
  }
  for (int64_t c = 0; c < a.cols; ++c) { a.col[c] = a.beta2 * a.col[c] + (1 - a.beta2) * float(a.partial[c] / double(a.rows)); }
  const double mean = lane_sum<double>(a.rows, [&](int64_t r) { return double(a.row[r]); }) / double(a.rows);
  parallel_blocks(blocks, [&](int64_t b) {
    for (int64_t r = b * kAdafactorRows; r < a.rows && r < (b + 1) * kAdafactorRows; ++r) {
      float* __restrict p = a.p + r * a.cols;
      M* __restrict m = a.m ? a.m.as<M>() + r * a.cols : nullptr;
      const float* __restrict g = a.g + r * a.cols;
      const float* __restrict col = a.col;
      const float row = 1 / sqrt_of(float(double(a.row[r]) / mean));
      for (int64_t c = 0; c < a.cols; ++c) {
        float u = g[c] * a.gradient_scale * row / sqrt_of(col[c]);
        if (m) { u = moved(m[c], a.beta1, u); }
        p[c] -= a.lr * u + a.decay * p[c];
      }
    }
  });
}

}  // namespace

void adamw_step(const AdamWStep& a) {
  float* __restrict p = a.p.as<float>();
  float* __restrict m = a.m.as<float>();
  float* __restrict v = a.v.as<float>();
  const float* __restrict g = a.g.as<float>();
  parallel_for(a.end - a.begin, kGrain, [&](int64_t begin, int64_t end) {
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

void adafactor_step(const AdafactorStep& a) {
  auto run = [&]<class M>() {
    if (a.v) { return adafactor_full<M>(a); }
    AdafactorStep one = a;
    for (int64_t k = 0; k < a.count; ++k) {
      adafactor_factored<M>(one);
      one.p += a.rows * a.cols;
      one.g += a.rows * a.cols;
      one.row += a.rows + a.cols;
      one.col += a.rows + a.cols;
      if (a.m) { one.m.data = one.m.as<M>() + a.rows * a.cols; }
    }
  };
  return a.m.dtype == DType::bf16 ? run.template operator()<bf16>() : run.template operator()<float>();
}

void average_step(const AverageStep& a) {
  parallel_for(a.n, kGrain, [&](int64_t begin, int64_t end) {
    float* __restrict average = a.average.as<float>();
    const float* __restrict x = a.x.as<float>();
    for (int64_t i = begin; i < end; ++i) { average[i] = a.decay * average[i] + (1 - a.decay) * x[i]; }
  });
}

void sum_squares(const SumSquares& a) {
  const float* x = a.x.as<float>();
  double* partial = a.partial.as<double>();
  parallel_for(a.n, a.block, [&](int64_t begin, int64_t end) {
    partial[begin / a.block] = lane_sum<double>(end - begin, [&](int64_t i) { return double(x[begin + i]) * double(x[begin + i]); });
  });
}

void clip_on_device_kernel(const ClipOnDevice& a) {
  const double *partial = a.partial.as<double>(), *losses = a.losses.as<double>();
  double total = 0;
  for (int64_t i = 0; i < a.partial.size(); ++i) { total += partial[i]; }
  const double norm = __builtin_sqrt(total);
  bool finite = norm - norm == 0;
  for (int64_t i = 0; i < a.losses.size(); ++i) { finite = finite && losses[i] - losses[i] == 0; }
  a.state->gradient_norm = norm;
  a.state->gradient_scale = a.clip > 0 && norm > a.clip ? float(a.clip / norm) : 1;
  a.state->halted = a.state->halted || !finite;
}

}  // namespace pumice::PUMICE_ISA
