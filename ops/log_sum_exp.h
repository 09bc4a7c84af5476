// log(sum(exp(x))) of a row that is read once, piece by piece. For CPU kernels: no STL, everything inline.
#pragma once
#include "pumice/tensor/math.h"

namespace pumice {

// Milakov and Gimelshein 2018, arXiv:1805.02867: a running maximum, and the sum of exp(x - maximum), rescaled when it moves.
template <class A> struct RunningLogSumExp {
  // The lowest finite number rather than -inf, so that a piece of nothing but -inf (masked logits) gives exp(-inf), not a NaN.
  A top = sizeof(A) == 8 ? A(-__DBL_MAX__) : A(-__FLT_MAX__);
  A sum = 0;

  // Adds f(0) ... f(n - 1); f is called twice for each, so a piece should fit the first-level cache.
  template <class F> PUMICE_INLINE void add(int64_t n, const F& f) {
    A next = lane_max<A>(n, top, f);
    sum = sum * exp_of(top - next) + lane_sum<A>(n, [&](int64_t i) { return exp_of(f(i) - next); });
    top = next;
  }
  PUMICE_INLINE A value() const { return top + log_of(sum); }
};

}  // namespace pumice
