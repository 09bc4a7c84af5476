#include "pumice/ops/elementwise/arithmetic_kernels.h"
#include "pumice/ops/elementwise/broadcast.h"

namespace pumice::PUMICE_ISA {
namespace {

template <class T, class F> void walk(const ArithmeticArgs& args, const F& f) {
  using A = Acc<T>;
  Strided3 rows(args.y, args.a, args.b);
  rows.for_each_row([&](const int64_t at[3], int64_t n) {
    T* __restrict y = args.y.as<T>() + at[0];
    const T* a = args.a.as<T>() + at[1];
    const T* b = args.b.as<T>() + at[2];
    const int64_t sa = rows.step[1], sb = rows.step[2];
    if (rows.step[0] == 1 && sa == 1 && sb == 1) { for (int64_t i = 0; i < n; ++i) { y[i] = T(f(A(a[i]), A(b[i]))); } }
    else if (rows.step[0] == 1 && sa == 1 && sb == 0) { for (int64_t i = 0; i < n; ++i) { y[i] = T(f(A(a[i]), A(*b))); } }
    else { for (int64_t i = 0; i < n; ++i) { y[i * rows.step[0]] = T(f(A(a[i * sa]), A(b[i * sb]))); } }
  });
}

}  // namespace

void arithmetic(const ArithmeticArgs& a) {
  dispatch_float(a.y.dtype, [&]<class T>() {
    using A = Acc<T>;
    switch (a.op) {
      case Arithmetic::add: return walk<T>(a, [](A x, A y) { return x + y; });
      case Arithmetic::sub: return walk<T>(a, [](A x, A y) { return x - y; });
      case Arithmetic::mul: return walk<T>(a, [](A x, A y) { return x * y; });
      case Arithmetic::div: return walk<T>(a, [](A x, A y) { return x / y; });
    }
  });
}

}  // namespace pumice::PUMICE_ISA
