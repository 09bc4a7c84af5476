#include "pumice/ops/matmul/linear.h"

#include <algorithm>

#include "pumice/autograd/saved.h"
#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/matmul/linear_parts.h"
#include "pumice/ops/require.h"

namespace pumice {

Tensor linear(const Tensor& input, const Tensor& w, const Tensor& b, const Tensor& residual) {
  require_float("linear", "x", input);
  REQUIRE(ShapeError, input.rank() >= 1 && w.rank() == 2 && input.dim(-1) == w.dim(1), "[linear] x (..., in) and w (out, in) are required, got x ",
          input.shape(), " and w ", w.shape());
  require_dtype("linear", "w", w, input.dtype());
  REQUIRE(ShapeError, !b.defined() || b.shape() == Shape{w.dim(0)}, "[linear] b must be (out) = (", w.dim(0), "), got ",
          b.defined() ? b.shape() : Shape{});
  if (b.defined()) { require_parameter_dtype("linear", "b", b, input.dtype()); }
  require_same_device("linear", input, w);
  Tensor x = packed(input).reshape({-1, w.dim(1)});
  if (input.size() == 0) { x = x.reshape({input.size() / std::max<int64_t>(1, w.dim(1)), w.dim(1)}); }
  Shape out = input.shape();
  out[out.rank() - 1] = w.dim(0);
  Tensor y = empty(out, input.dtype(), input.device()), flat = y.reshape({x.dim(0), w.dim(0)});
  gemm_batch(x.device(), {flat, x, w.transpose(0, 1), b.defined() ? packed(b) : Tensor(), 0, adding(packed_residual("linear", residual, y))});

  // dx = dy w     dw = dy^T x     db = sum over rows of dy
  const int64_t rows = x.dim(0);
  Saved saved = needs_grad(w) ? Saved(input) : Saved();
  return record("linear", y, {input, w, b, residual}, [saved, w = w.detach(), rows](const Tensor& dy, std::span<GradSink> dx) {
    Tensor flat = packed(dy).reshape({rows, w.dim(0)});
    if (dx[1].needed()) {  // before dx, so that what is made again for it is gone by then
      put_weight_gradient(dx[1], w, flat, packed(saved.get()).reshape({rows, w.dim(1)}));
    }
    if (dx[0].needed()) {
      const auto [dinput, beta] = dx[0].place();
      gemm_batch(w.device(), {dinput.reshape({rows, w.dim(1)}), flat, w, {}, beta});
      dx[0].put(dinput);
    }
    if (dx[2].needed()) { put_bias_gradient(dx[2], flat); }
    if (dx[3].needed()) { dx[3].put(dy); }
  });
}

}  // namespace pumice
