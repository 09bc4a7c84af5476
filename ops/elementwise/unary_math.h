// The functions of unary.h and gelu.h and their derivatives, once for the CPU and CUDA kernels. Free of STL.
#pragma once
#include "pumice/ops/elementwise/unary_kernels.h"
#include "pumice/tensor/math.h"

namespace pumice {

template <class A> inline constexpr A kSqrt2OverPi = A(0.79788456080286535588);
template <class A> inline constexpr A kCubic = A(0.044715);
template <class A> inline constexpr A kInvSqrt2 = A(0.70710678118654752440);
template <class A> inline constexpr A kInvSqrt2Pi = A(0.39894228040143267794);

// x / 2 (1 + tanh u) = x sigmoid(2u): one exponential and no cancellation.
template <class A> PUMICE_INLINE A gelu_tanh_gate(A x) { return sigmoid_of(A(2) * kSqrt2OverPi<A> * (x + kCubic<A> * x * x * x)); }
template <class A> PUMICE_INLINE A gelu_tanh_slope(A x) {
  const A s = gelu_tanh_gate(x);
  return s + x * s * (A(1) - s) * A(2) * kSqrt2OverPi<A> * (A(1) + A(3) * kCubic<A> * x * x);
}
// x sigmoid(k x): silu with k = 1, CLIP's approximation of gelu with k = 1.702.
template <class A> inline constexpr A kQuick = A(1.702);
template <class A> PUMICE_INLINE A swish(A x, A k) { return x * sigmoid_of(k * x); }
template <class A> PUMICE_INLINE A swish_slope(A x, A k) {
  const A s = sigmoid_of(k * x);
  return s + k * x * s * (A(1) - s);
}
template <class A> PUMICE_INLINE A normal_cdf(A x) { return A(0.5) * (A(1) + erf_of(x * kInvSqrt2<A>)); }
template <class A> PUMICE_INLINE A normal_pdf(A x) { return kInvSqrt2Pi<A> * exp_of(A(-0.5) * x * x); }

template <Unary F, class A> PUMICE_INLINE A unary_value(A x, A scale, A shift) {
  if constexpr (F == Unary::affine) { return scale * x + shift; }
  else if constexpr (F == Unary::exp) { return exp_of(x); }
  else if constexpr (F == Unary::log) { return log_of(x); }
  else if constexpr (F == Unary::sqrt) { return sqrt_of(x); }
  else if constexpr (F == Unary::square) { return x * x; }
  else if constexpr (F == Unary::tanh) { return tanh_of(x); }
  else if constexpr (F == Unary::sigmoid) { return sigmoid_of(x); }
  else if constexpr (F == Unary::relu) { return x > A(0) || x != x ? x : A(0); }
  else if constexpr (F == Unary::silu) { return swish(x, A(1)); }
  else if constexpr (F == Unary::gelu_quick) { return swish(x, kQuick<A>); }
  else if constexpr (F == Unary::gelu_tanh) { return x * gelu_tanh_gate(x); }
  else { return x * normal_cdf(x); }
}

// dy/dx from what UnaryBwd saves: x or y. affine saves nothing.
template <Unary F, class A> PUMICE_INLINE A unary_slope(A saved) {
  if constexpr (F == Unary::exp) { return saved; }
  else if constexpr (F == Unary::log) { return A(1) / saved; }
  else if constexpr (F == Unary::sqrt) { return A(0.5) / saved; }
  else if constexpr (F == Unary::square) { return A(2) * saved; }
  else if constexpr (F == Unary::tanh) { return A(1) - saved * saved; }
  else if constexpr (F == Unary::sigmoid) { return saved * (A(1) - saved); }
  else if constexpr (F == Unary::relu) { return saved > A(0) ? A(1) : A(0); }
  else if constexpr (F == Unary::silu) { return swish_slope(saved, A(1)); }
  else if constexpr (F == Unary::gelu_quick) { return swish_slope(saved, kQuick<A>); }
  else if constexpr (F == Unary::gelu_tanh) { return gelu_tanh_slope(saved); }
  else { return normal_cdf(saved) + saved * normal_pdf(saved); }
}

// g.template operator()<F>() for the function that was asked for. Host only, and always inlined: CPU kernels of every level include it.
template <class G> inline __attribute__((always_inline)) void with_unary(Unary f, const G& g) {
  switch (f) {
    case Unary::affine: return g.template operator()<Unary::affine>();
    case Unary::exp: return g.template operator()<Unary::exp>();
    case Unary::log: return g.template operator()<Unary::log>();
    case Unary::sqrt: return g.template operator()<Unary::sqrt>();
    case Unary::square: return g.template operator()<Unary::square>();
    case Unary::tanh: return g.template operator()<Unary::tanh>();
    case Unary::sigmoid: return g.template operator()<Unary::sigmoid>();
    case Unary::relu: return g.template operator()<Unary::relu>();
    case Unary::silu: return g.template operator()<Unary::silu>();
    case Unary::gelu_quick: return g.template operator()<Unary::gelu_quick>();
    case Unary::gelu_tanh: return g.template operator()<Unary::gelu_tanh>();
    case Unary::gelu_erf: return g.template operator()<Unary::gelu_erf>();
  }
}

}  // namespace pumice
