#include "pumice/ops/matmul/matmul.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/require.h"

namespace pumice {
namespace {

// The leading axes of x widened to `batch`, without a copy.
Tensor with_batch(const Tensor& x, const Shape& batch) {
  Shape wide = batch;
  wide.push_back(x.dim(-2));
  wide.push_back(x.dim(-1));
  return x.expand(wide);
}

Tensor product(const Tensor& a, const Tensor& b) {
  Shape out = a.shape();
  out[out.rank() - 1] = b.dim(-1);
  Tensor c = empty(out, a.dtype(), a.device());
  if (c.size()) { gemm_batch(a.device(), {c, a, b, {}, 0}); }
  return c;
}

// Sums a gradient over the axes along which its operand was broadcast.
Tensor reduce_batch(const Tensor& g, const Shape& shape) {
  if (g.shape() == shape) { return g; }
  Tensor sum = zeros(shape, g.dtype(), g.device());
  Tensor target = sum;
  // Each slice along the broadcast axes is added in order: sum += g[i].
  int lead = g.rank() - shape.rank();
  for (int axis = 0; axis < g.rank() - 2; ++axis) {
    bool broadcast = axis < lead || (shape[axis - lead] == 1 && g.dim(axis) != 1);
    if (!broadcast) { continue; }
    Shape rest = g.shape();
    rest[axis] = 1;
    Tensor partial = zeros(rest, g.dtype(), g.device());
    for (int64_t i = 0; i < g.dim(axis); ++i) { add_into(partial, g.slice(axis, i, i + 1)); }
    return reduce_batch(axis < lead && axis == 0 ? partial.reshape(Shape(rest.begin() + 1, rest.rank() - 1)) : partial, shape);
  }
  copy_into(target, g.reshape(shape));
  return sum;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, bool trans_a, bool trans_b) {
  require_float("matmul", "a", a);
  require_dtype("matmul", "b", b, a.dtype());
  require_same_device("matmul", a, b);
  REQUIRE(ShapeError, a.rank() >= 2 && b.rank() >= 2, "[matmul] a and b must have at least two axes, got ", a.shape(), " and ", b.shape());
  Tensor left = trans_a ? a.transpose(-1, -2) : a.detach(), right = trans_b ? b.transpose(-1, -2) : b.detach();
  REQUIRE(ShapeError, left.dim(-1) == right.dim(-2), "[matmul] the inner lengths must agree, got ", a.shape(), trans_a ? " transposed" : "", " and ",
          b.shape(), trans_b ? " transposed" : "", ": ", left.dim(-1), " and ", right.dim(-2));
  Shape batch = broadcast_shapes("matmul", Shape(left.shape().begin(), left.rank() - 2), Shape(right.shape().begin(), right.rank() - 2));
  Tensor A = with_batch(left, batch), B = with_batch(right, batch);
  Tensor y = product(A, B);

  // dA = dy B^T     dB = A^T dy, each transposed back and summed over broadcast axes
  return record("matmul", y, {a, b}, [A, B, trans_a, trans_b, a_shape = a.shape(), b_shape = b.shape()](const Tensor& dy, std::span<GradSink> dx) {
    if (dx[0].needed()) {
      dx[0].put(reduce_batch(trans_a ? product(B, dy.transpose(-1, -2)) : product(dy, B.transpose(-1, -2)), a_shape));
    }
    if (dx[1].needed()) {
      dx[1].put(reduce_batch(trans_b ? product(dy.transpose(-1, -2), A) : product(A.transpose(-1, -2), dy), b_shape));
    }
  });
}

}  // namespace pumice
