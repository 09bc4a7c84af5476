#include "pumice/ops/elementwise/unary_kernels.h"
#include "pumice/tensor/math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {
namespace {

template <class T, class F> void map(const View& y, const View& x, const F& f) {
  using A = Acc<T>;
  T* __restrict to = y.as<T>();
  const T* __restrict from = x.as<T>();
  parallel_for(x.size(), 8192, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) { to[i] = T(f(A(from[i]))); }
  });
}

template <class T, class F> void map(const View& dx, const View& dy, const View& saved, const F& f) {
  using A = Acc<T>;
  T* __restrict to = dx.as<T>();
  const T* __restrict g = dy.as<T>();
  const T* __restrict s = saved.as<T>();
  parallel_for(dy.size(), 8192, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) { to[i] = T(A(g[i]) * f(A(s[i]))); }
  });
}

template <class A> inline constexpr A kSqrt2OverPi = A(0.79788456080286535588);
template <class A> inline constexpr A kCubic = A(0.044715);
template <class A> inline constexpr A kInvSqrt2 = A(0.70710678118654752440);
template <class A> inline constexpr A kInvSqrt2Pi = A(0.39894228040143267794);

// x / 2 (1 + tanh u) = x sigmoid(2u): one exponential and no cancellation.
template <class A> PUMICE_INLINE A gelu_tanh(A x) { return x * sigmoid_of(A(2) * kSqrt2OverPi<A> * (x + kCubic<A> * x * x * x)); }
template <class A> PUMICE_INLINE A gelu_tanh_slope(A x) {
  A s = sigmoid_of(A(2) * kSqrt2OverPi<A> * (x + kCubic<A> * x * x * x));
  return s + x * s * (A(1) - s) * A(2) * kSqrt2OverPi<A> * (A(1) + A(3) * kCubic<A> * x * x);
}
template <class A> PUMICE_INLINE A normal_cdf(A x) { return A(0.5) * (A(1) + erf_of(x * kInvSqrt2<A>)); }
template <class A> PUMICE_INLINE A normal_pdf(A x) { return kInvSqrt2Pi<A> * exp_of(A(-0.5) * x * x); }

}  // namespace

void unary_fwd(const UnaryFwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A scale = A(a.scale), shift = A(a.shift);
    switch (a.f) {
      case Unary::affine: return map<T>(a.y, a.x, [=](A x) { return scale * x + shift; });
      case Unary::exp: return map<T>(a.y, a.x, [](A x) { return exp_of(x); });
      case Unary::log: return map<T>(a.y, a.x, [](A x) { return log_of(x); });
      case Unary::sqrt: return map<T>(a.y, a.x, [](A x) { return sqrt_of(x); });
      case Unary::square: return map<T>(a.y, a.x, [](A x) { return x * x; });
      case Unary::tanh: return map<T>(a.y, a.x, [](A x) { return tanh_of(x); });
      case Unary::sigmoid: return map<T>(a.y, a.x, [](A x) { return sigmoid_of(x); });
      case Unary::relu: return map<T>(a.y, a.x, [](A x) { return x > A(0) || x != x ? x : A(0); });
      case Unary::gelu_tanh: return map<T>(a.y, a.x, [](A x) { return gelu_tanh(x); });
      case Unary::gelu_erf: return map<T>(a.y, a.x, [](A x) { return x * normal_cdf(x); });
    }
  });
}

void unary_bwd(const UnaryBwd& a) {
  dispatch_float(a.dy.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A scale = A(a.scale);
    switch (a.f) {
      case Unary::affine: return map<T>(a.dx, a.dy, [=](A g) { return scale * g; });
      case Unary::exp: return map<T>(a.dx, a.dy, a.saved, [](A y) { return y; });
      case Unary::log: return map<T>(a.dx, a.dy, a.saved, [](A x) { return A(1) / x; });
      case Unary::sqrt: return map<T>(a.dx, a.dy, a.saved, [](A y) { return A(0.5) / y; });
      case Unary::square: return map<T>(a.dx, a.dy, a.saved, [](A x) { return A(2) * x; });
      case Unary::tanh: return map<T>(a.dx, a.dy, a.saved, [](A y) { return A(1) - y * y; });
      case Unary::sigmoid: return map<T>(a.dx, a.dy, a.saved, [](A y) { return y * (A(1) - y); });
      case Unary::relu: return map<T>(a.dx, a.dy, a.saved, [](A x) { return x > A(0) ? A(1) : A(0); });
      case Unary::gelu_tanh: return map<T>(a.dx, a.dy, a.saved, [](A x) { return gelu_tanh_slope(x); });
      case Unary::gelu_erf: return map<T>(a.dx, a.dy, a.saved, [](A x) { return normal_cdf(x) + x * normal_pdf(x); });
    }
  });
}

}  // namespace pumice::PUMICE_ISA
