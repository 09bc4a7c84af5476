#include "pumice/ops/elementwise/unary_math.h"
#include "pumice/tensor/parallel.h"

namespace pumice::PUMICE_ISA {
namespace {

template <class T, class F> void map(const View& y, const View& x, const F& f) {
  using A = Acc<T>;
  T* to = y.as<T>();
  const T* from = x.as<T>();
  parallel_for(x.size(), 8192, [&](int64_t begin, int64_t end) {
#pragma GCC ivdep  // dx may be dy
    for (int64_t i = begin; i < end; ++i) { to[i] = T(f(A(from[i]))); }
  });
}

template <class T, class F> void map(const View& dx, const View& dy, const View& saved, const F& f) {
  using A = Acc<T>;
  T* to = dx.as<T>();
  const T *g = dy.as<T>(), *s = saved.as<T>();
  parallel_for(dy.size(), 8192, [&](int64_t begin, int64_t end) {
#pragma GCC ivdep  // dx may be dy
    for (int64_t i = begin; i < end; ++i) { to[i] = T(A(g[i]) * f(A(s[i]))); }
  });
}

}  // namespace

void unary_fwd(const UnaryFwd& a) {
  dispatch_float(a.x.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A scale = A(a.scale), shift = A(a.shift);
    with_unary(a.f, [&]<Unary F>() { map<T>(a.y, a.x, [=](A x) { return unary_value<F>(x, scale, shift); }); });
  });
}

void unary_bwd(const UnaryBwd& a) {
  dispatch_float(a.dy.dtype, [&]<class T>() {
    using A = Acc<T>;
    const A scale = A(a.scale);
    with_unary(a.f, [&]<Unary F>() {
      if constexpr (F == Unary::affine) { map<T>(a.dx, a.dy, [=](A g) { return scale * g; }); }
      else { map<T>(a.dx, a.dy, a.saved, [](A saved) { return unary_slope<F>(saved); }); }
    });
  });
}

}  // namespace pumice::PUMICE_ISA
