// A few ops in f64, as short as an op can be: the graph is what these tests are about.
#pragma once
#include "pumice/autograd/autograd.h"

namespace pumice::testing {

inline Tensor values(const Shape& shape, std::vector<double> v) { return from_values<double>(shape, v); }

template <class F> Tensor each(const Tensor& a, const Tensor& b, const F& f) {
  std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  for (size_t i = 0; i < x.size(); ++i) { x[i] = f(x[i], y[i]); }
  return values(a.shape(), x);
}

inline Tensor add(const Tensor& a, const Tensor& b) {
  return record("add", each(a, b, [](double x, double y) { return x + y; }), {a, b}, [](const Tensor& dy, std::span<GradSink> dx) {
    dx[0].put(dy);
    dx[1].put(dy);
  });
}

inline Tensor mul(const Tensor& a, const Tensor& b) {
  auto product = [](double x, double y) { return x * y; };
  return record("mul", each(a, b, product), {a, b}, [a = a.detach(), b = b.detach(), product](const Tensor& dy, std::span<GradSink> dx) {
    dx[0].put(each(dy, b, product));
    dx[1].put(each(dy, a, product));
  });
}

inline Tensor sum(const Tensor& x) {
  double total = 0;
  for (double v : x.to_vector<double>()) { total += v; }
  return record("sum", full({}, total, DType::f64), {x}, [shape = x.shape()](const Tensor& dy, std::span<GradSink> dx) {
    dx[0].put(full(shape, dy.item(), DType::f64));
  });
}

// Two outputs from one node: the elements that are not negative, and the others; zeros elsewhere.
inline std::vector<Tensor> split_by_sign(const Tensor& x) {
  auto keep = [](bool positive) { return [positive](double v, double of) { return (of >= 0) == positive ? v : 0; }; };
  return record("split_by_sign", {each(x, x, keep(true)), each(x, x, keep(false))}, {x},
                [x = x.detach(), keep](std::span<const Tensor> dy, std::span<GradSink> dx) {
    Tensor total = full(x.shape(), 0, DType::f64);
    for (int k = 0; k < 2; ++k) {
      if (dy[k].defined()) { add_into(total, each(dy[k], x, keep(k == 0))); }
    }
    dx[0].put(total);
  });
}

inline std::vector<double> grad_values(const Tensor& leaf) { return grad(leaf).to_vector<double>(); }

}  // namespace pumice::testing
