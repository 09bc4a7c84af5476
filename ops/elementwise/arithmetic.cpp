#include "pumice/ops/elementwise/arithmetic.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/elementwise/arithmetic_kernels.h"
#include "pumice/ops/reduce/sum_to.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(arithmetic, ArithmeticArgs);

namespace {

Tensor apply(Arithmetic op, const Tensor& a, const Tensor& b) {
  Shape shape = broadcast_shapes("arithmetic", a.shape(), b.shape());
  Tensor y = empty(shape, a.dtype(), a.device());
  if (y.size()) { arithmetic(y.device(), {y, a.expand(shape), b.expand(shape), op}); }
  return y;
}

Tensor checked(const char* name, Arithmetic op, const Tensor& a, const Tensor& b) {
  require_float(name, "a", a);
  require_dtype(name, "b", b, a.dtype());
  require_same_device(name, a, b);
  broadcast_shapes(name, a.shape(), b.shape());
  return apply(op, a, b);
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  // da = dy     db = dy
  return record("add", checked("add", Arithmetic::add, a, b), {a, b},
                [a_shape = a.shape(), b_shape = b.shape()](const Tensor& dy, std::span<GradSink> dx) {
    if (dx[0].needed()) { dx[0].put(sum_to(dy, a_shape)); }
    if (dx[1].needed()) { dx[1].put(sum_to(dy, b_shape)); }
  });
}

Tensor sub(const Tensor& a, const Tensor& b) {
  // da = dy     db = -dy
  return record("sub", checked("sub", Arithmetic::sub, a, b), {a, b},
                [a_shape = a.shape(), b_shape = b.shape()](const Tensor& dy, std::span<GradSink> dx) {
    if (dx[0].needed()) { dx[0].put(sum_to(dy, a_shape)); }
    if (dx[1].needed()) { dx[1].put(sum_to(apply(Arithmetic::mul, dy, full({}, -1, dy.dtype(), dy.device())), b_shape)); }
  });
}

Tensor mul(const Tensor& a, const Tensor& b) {
  // da = dy b     db = dy a
  return record("mul", checked("mul", Arithmetic::mul, a, b), {a, b}, [a = a.detach(), b = b.detach()](const Tensor& dy, std::span<GradSink> dx) {
    if (dx[0].needed()) { dx[0].put(sum_to(apply(Arithmetic::mul, dy, b), a.shape())); }
    if (dx[1].needed()) { dx[1].put(sum_to(apply(Arithmetic::mul, dy, a), b.shape())); }
  });
}

Tensor div(const Tensor& a, const Tensor& b) {
  // da = dy / b     db = -dy a / b^2
  return record("div", checked("div", Arithmetic::div, a, b), {a, b}, [a = a.detach(), b = b.detach()](const Tensor& dy, std::span<GradSink> dx) {
    Tensor da = apply(Arithmetic::div, dy, b);
    if (dx[0].needed()) { dx[0].put(sum_to(da, a.shape())); }
    if (dx[1].needed()) {
      Tensor ratio = apply(Arithmetic::div, a, b), minus = full({}, -1, b.dtype(), b.device());
      dx[1].put(sum_to(apply(Arithmetic::mul, apply(Arithmetic::mul, da, ratio), minus), b.shape()));
    }
  });
}

}  // namespace pumice
