#include "pumice/ops/reduce/reduce.h"

#include <algorithm>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/reduce/reduce_kernels.h"
#include "pumice/ops/reduce/sum_to.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(sum_axis, SumArgs);
PUMICE_DEFINE_KERNEL(max_axis, MaxArgs);
PUMICE_DEFINE_KERNEL(max_axis_bwd, MaxBackwardArgs);

namespace {

// x with its reduced axes moved behind the kept ones and both merged: (O, R, 1), packed unless that is free. `kept` is the shape
// of the kept axes, `wide` that of x with length 1 along the reduced ones.
struct Plan {
  Tensor x;         // (O, R)
  Shape kept, wide;
  std::vector<int> order;  // the permutation that was applied
};

Plan plan_of(const char* op, const Tensor& x, const std::vector<int>& axes) {
  std::vector<bool> reduced(x.rank(), axes.empty());
  for (int a : axes) {
    int axis = normalize_axis(op, a, x.rank());
    REQUIRE(ShapeError, !reduced[axis], "[", op, "] each axis once is required, axis ", axis, " is repeated");
    reduced[axis] = true;
  }
  Plan p;
  p.wide = x.shape();
  int64_t R = 1;
  for (int i = 0; i < x.rank(); ++i) {
    if (!reduced[i]) {
      p.order.push_back(i);
      p.kept.push_back(x.dim(i));
    }
  }
  for (int i = 0; i < x.rank(); ++i) {
    if (reduced[i]) {
      p.order.push_back(i);
      p.wide[i] = 1;
      R *= x.dim(i);
    }
  }
  p.x = packed(x.permute(p.order)).reshape({p.kept.elements(), R});
  return p;
}

View as_cube(const Tensor& x) { return x.as_strided({x.dim(0), x.dim(1), 1}, {x.strides()[0], x.strides()[1], 1}, 0); }
View as_rows(const Tensor& y) { return y.as_strided({y.size(), 1}, {1, 1}, 0); }

Tensor scaled_sum(const char* op, const Tensor& x, const std::vector<int>& axes, bool keepdims, bool divide) {
  require_float(op, "x", x);
  Plan p = plan_of(op, x, axes);
  const int64_t R = p.x.dim(1);
  REQUIRE(ShapeError, !divide || R > 0, "[", op, "] the mean of no elements is undefined, got ", x.shape());
  const double scale = divide ? 1 / double(R) : 1;
  Tensor y = empty(keepdims ? p.wide : p.kept, x.dtype(), x.device());
  if (y.size()) { sum_axis(x.device(), {as_rows(y), as_cube(p.x), scale}); }

  // dx = scale dy, repeated along the reduced axes
  return record(op, y, {x}, [scale, wide = p.wide, shape = x.shape()](const Tensor& dy, std::span<GradSink> dx) {
    Tensor small = empty(wide, dy.dtype(), dy.device());
    copy_into(small, packed(dy).reshape(wide));
    if (small.size()) { sum_axis(dy.device(), {as_rows(small), as_cube(small.reshape({small.size(), 1})), scale}); }
    dx[0].put(small.expand(shape));
  });
}

}  // namespace

Tensor sum(const Tensor& x, const std::vector<int>& axes, bool keepdims) { return scaled_sum("sum", x, axes, keepdims, false); }
Tensor mean(const Tensor& x, const std::vector<int>& axes, bool keepdims) { return scaled_sum("mean", x, axes, keepdims, true); }

Tensor max(const Tensor& x, const std::vector<int>& axes, bool keepdims) {
  require_float("max", "x", x);
  Plan p = plan_of("max", x, axes);
  REQUIRE(ShapeError, p.x.dim(1) > 0, "[max] the maximum of no elements is undefined, got ", x.shape());
  Tensor y = empty(keepdims ? p.wide : p.kept, x.dtype(), x.device()), index = empty({y.size()}, DType::i64, x.device());
  if (y.size()) { max_axis(x.device(), {as_rows(y), as_rows(index), as_cube(p.x)}); }

  // dx = dy at the first largest element, 0 elsewhere
  return record("max", y, {x}, [index, order = p.order, rows = p.x.shape(), shape = x.shape()](const Tensor& dy, std::span<GradSink> dx) {
    Tensor flat = zeros(rows, dy.dtype(), dy.device()), g = packed(dy);
    if (g.size()) { max_axis_bwd(dy.device(), {as_cube(flat), as_rows(g), as_rows(index)}); }
    Shape permuted = shape;
    std::vector<int> back(order.size());
    for (size_t i = 0; i < order.size(); ++i) {
      permuted[int(i)] = shape[order[i]];
      back[order[i]] = int(i);
    }
    dx[0].put(flat.reshape(permuted).permute(back));
  });
}

Tensor sum_to(const Tensor& g, const Shape& shape) {
  if (g.shape() == shape) { return g; }
  // Leading axes that `shape` lacks, merged into one, then each axis of length 1: one sum over (O, R, I) views per run of axes.
  const int lead = g.rank() - shape.rank();
  Tensor x = packed(g);
  for (int axis = 0; axis < g.rank(); ++axis) {
    const bool broadcast = axis < lead || (shape[axis - lead] == 1 && x.dim(axis) != 1);
    if (!broadcast) { continue; }
    int64_t O = 1, I = 1;
    for (int i = 0; i < axis; ++i) { O *= x.dim(i); }
    for (int i = axis + 1; i < x.rank(); ++i) { I *= x.dim(i); }
    Shape narrow = x.shape();
    narrow[axis] = 1;
    Tensor y = empty(narrow, x.dtype(), x.device());
    if (y.size()) { sum_axis(x.device(), {y.reshape({O, I}), x.reshape({O, x.dim(axis), I}), 1}); }
    x = y;
  }
  return x.reshape(shape);
}

}  // namespace pumice
