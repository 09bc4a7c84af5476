// Scalar functions that the compiler can vectorise inside a loop: no branch, no library call for f32. Free of STL.
// f64 goes to the C library: it is the reference type, not the training type.
#pragma once
#include "pumice/tensor/dtype.h"

namespace pumice {

// exp(x), relative error < 2e-7 for x in [-87.3, 88.3]; 0 below, infinity above, NaN for NaN. 2^n * p(r) with x = n ln2 + r,
// |r| <= ln2/2, and the degree-6 Taylor-minimax polynomial of Cephes expf (Moshier).
PUMICE_INLINE float exp_of(float x) {
  float n = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: the low mantissa bits now hold round(x / ln2)
  int32_t bits;
  std::memcpy(&bits, &n, 4);
  n -= 12582912.0f;
  float r = x - n * 0.693359375f;
  r += n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t power = int32_t(uint32_t(bits - 0x4B400000 + 127) << 23);
  float scale;
  std::memcpy(&scale, &power, 4);
  float y = x > 88.37626f ? __builtin_inff() : p * scale;
  return x < -87.33654f ? 0.0f : y;
}
PUMICE_INLINE double exp_of(double x) { return __builtin_exp(x); }

// tanh(x) = 1 - 2 / (exp(2x) + 1), and near zero, where that cancels, the odd polynomial of Cephes tanhf. Relative error < 3e-7.
PUMICE_INLINE float tanh_of(float x) {
  float z = x * x, p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  float near = (p * z + 1.0f) * x, far = 1.0f - 2.0f / (exp_of(2.0f * x) + 1.0f);
  return z < 0.390625f ? near : far;  // |x| < 0.625
}
PUMICE_INLINE double tanh_of(double x) { return __builtin_tanh(x); }

PUMICE_INLINE float sigmoid_of(float x) { return 1.0f / (1.0f + exp_of(-x)); }
PUMICE_INLINE double sigmoid_of(double x) { return 1.0 / (1.0 + __builtin_exp(-x)); }

// log(x), relative error < 2e-7, and absolute near 1; -infinity at 0, NaN below. x = m 2^e with m in [sqrt(1/2), sqrt(2)), and the polynomial of Cephes logf.
PUMICE_INLINE float log_of(float x) {
#ifdef __CUDA_ARCH__
  return __builtin_logf(x);
#else
  const bool small = x < 1.17549435e-38f;
  const float scaled = small ? x * 8388608.0f : x;  // of subnormal numbers
  uint32_t bits;
  std::memcpy(&bits, &scaled, 4);
  const int32_t shifted = int32_t(bits - 0x3f3504f3u);  // from sqrt(1/2); negative numbers wrap, and are answered below
  const float e = float(shifted >> 23) - (small ? 23.0f : 0.0f);
  const int32_t mantissa = (shifted & 0x007fffff) + 0x3f3504f3;
  float m;
  std::memcpy(&m, &mantissa, 4);
  const float z = m - 1.0f, zz = z * z;
  float p = 7.0376836292e-2f;
  p = p * z - 1.1514610310e-1f;
  p = p * z + 1.1676998740e-1f;
  p = p * z - 1.2420140846e-1f;
  p = p * z + 1.4249322787e-1f;
  p = p * z - 1.6668057665e-1f;
  p = p * z + 2.0000714765e-1f;
  p = p * z - 2.4999993993e-1f;
  p = p * z + 3.3333331174e-1f;
  float y = p * z * zz - e * 2.12194440e-4f - 0.5f * zz;
  y = z + y + e * 0.693359375f;
  y = x == __builtin_inff() ? x : y;
  y = x == 0.0f ? -__builtin_inff() : y;
  return x >= 0.0f ? y : __builtin_nanf("");
#endif
}
PUMICE_INLINE double log_of(double x) { return __builtin_log(x); }
// log(1 + exp(x)), exact in its tails: log1p(e) = log(w) e / (w - 1) with w = 1 + e (Kahan).
template <class A> PUMICE_INLINE A softplus_of(A x) {
  const A e = exp_of(x > 0 ? -x : x), w = A(1) + e;
  return (x > 0 ? x : A(0)) + (w == A(1) ? e : log_of(w) * e / (w - A(1)));
}
// sin and cos of u turns, 0 <= u < 1, absolute error < 2e-7: a quarter turn at a time, by the polynomials of Cephes sinf and cosf.
PUMICE_INLINE void sin_cos_of_turns(float u, float& sin, float& cos) {
  const int32_t quarter = int32_t(4.0f * u + 0.5f);
  const float r = (4.0f * u - float(quarter)) * 1.57079632679f, z = r * r;
  const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
  const float c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  const float odd_sin = quarter & 1 ? c : s, odd_cos = quarter & 1 ? s : c;
  sin = quarter & 2 ? -odd_sin : odd_sin;
  cos = (quarter + 1) & 2 ? -odd_cos : odd_cos;
}
PUMICE_INLINE float sqrt_of(float x) { return __builtin_sqrtf(x); }
PUMICE_INLINE double sqrt_of(double x) { return __builtin_sqrt(x); }
// erf(x), relative error < 2e-7: x + x p(x^2) below 1, above it 1 - exp(-q(|x|)). Least-squares fits, reweighted towards the least maximum, to erf(x) / x on
// [0, 1] and to -log(erfc(x)) on [1, 4].
PUMICE_INLINE float erf_of(float x) {
#ifdef __CUDA_ARCH__
  return __builtin_erff(x);
#else
  const float z = x * x, size = __builtin_fabsf(x), t = size > 4.0f ? 4.0f : size;
  float p = 7.8538578e-5f;
  p = p * z - 8.0101925e-4f;
  p = p * z + 5.1883277e-3f;
  p = p * z - 2.6853811e-2f;
  p = p * z + 1.1283585e-1f;
  p = p * z - 3.7612626e-1f;
  p = p * z + 1.2837911e-1f;
  float q = -1.8557490e-4f;
  q = q * t + 2.9396156e-3f;
  q = q * t - 2.1805352e-2f;
  q = q * t + 1.0303743e-1f;
  q = q * t + 6.3822562e-1f;
  q = q * t + 1.1270400f;
  q = q * t + 3.5370892e-4f;
  const float far = __builtin_copysignf(1.0f - exp_of(-q), x);
  return z < 1.0f ? x * p + x : far;
#endif
}
PUMICE_INLINE double erf_of(double x) { return __builtin_erf(x); }

// Sum and maximum over i in [0, n) of f(i) in sixteen fixed lanes: the order of additions is the same at every instruction-set
// level, and the compiler vectorises the inner loop, unless it unrolls it first and leaves f in scalars: hence `unroll 1`.
inline constexpr int kLanes = 16;
#ifdef __CUDACC__  // nvcc's front end does not know the pragma
#define PUMICE_NO_UNROLL
#else
#define PUMICE_NO_UNROLL _Pragma("GCC unroll 1")
#endif

template <class A, class F> PUMICE_INLINE A lane_sum(int64_t n, const F& f) {
  A lane[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    PUMICE_NO_UNROLL
    for (int j = 0; j < kLanes; ++j) { lane[j] += f(i + j); }
  }
  for (int j = 0; i < n; ++i, ++j) { lane[j] += f(i); }
  for (int width = kLanes / 2; width; width /= 2) {
    for (int j = 0; j < width; ++j) { lane[j] += lane[j + width]; }
  }
  return lane[0];
}

// The larger of the two; a NaN on either side stays. Bitwise or: a branch would keep the loops below from vectorising.
template <class A> PUMICE_INLINE A max_of(A best, A v) { return ((best >= v) | (best != best)) ? best : v; }

template <class A, class F> PUMICE_INLINE A lane_max(int64_t n, A lowest, const F& f) {
  A lane[kLanes];
  for (int j = 0; j < kLanes; ++j) { lane[j] = lowest; }
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    PUMICE_NO_UNROLL
    for (int j = 0; j < kLanes; ++j) { lane[j] = max_of(lane[j], A(f(i + j))); }
  }
  for (int j = 0; i < n; ++i, ++j) { lane[j] = max_of(lane[j], A(f(i))); }
  for (int width = kLanes / 2; width; width /= 2) {
    for (int j = 0; j < width; ++j) { lane[j] = max_of(lane[j], lane[j + width]); }
  }
  return lane[0];
}

}  // namespace pumice
