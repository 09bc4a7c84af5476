#include "pumice/ops/matmul/mlp.h"

#include <algorithm>

#include "pumice/autograd/saved.h"
#include "pumice/ops/elementwise/unary_kernels.h"
#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/matmul/linear_parts.h"
#include "pumice/ops/require.h"

namespace pumice {
namespace {

void require_layer(const char* name, const Tensor& x, int64_t in, const Tensor& w, const Tensor& b) {
  REQUIRE(ShapeError, w.rank() == 2 && w.dim(1) == in, "[mlp] ", name, " must be (out, in) = (..., ", in, "), got ", w.shape());
  require_dtype("mlp", name, w, x.dtype());
  require_same_device("mlp", x, w);
  if (!b.defined()) { return; }
  REQUIRE(ShapeError, b.shape() == Shape{w.dim(0)}, "[mlp] the bias of ", name, " must be (", w.dim(0), "), got ", b.shape());
  require_parameter_dtype("mlp", "bias", b, x.dtype());
}

Tensor bias_of(const Tensor& b) { return b.defined() ? packed(b) : Tensor(); }

}  // namespace

Tensor mlp(const Tensor& input, const Tensor& up, const Tensor& up_bias, const Tensor& down, const Tensor& down_bias, Gelu form,
           const Tensor& residual) {
  require_float("mlp", "x", input);
  REQUIRE(ShapeError, input.rank() >= 1, "[mlp] x must be (..., in), got ", input.shape());
  require_layer("up", input, input.dim(-1), up, up_bias);
  require_layer("down", input, up.dim(0), down, down_bias);
  const int64_t in = up.dim(1), hidden = up.dim(0), rows = in ? input.size() / in : input.shape().elements();
  const Unary f = unary_of(form);
  Shape shape = input.shape();
  shape[shape.rank() - 1] = down.dim(0);
  bool keeps = false;  // h, for a backward pass
  for (const Tensor* t : {&input, &up, &up_bias, &down, &down_bias}) { keeps |= t->defined() && needs_grad(*t); }
  Tensor x = packed(input).reshape({rows, in}), h = empty({rows, hidden}, x.dtype(), x.device()), y = empty(shape, x.dtype(), x.device());
  {
    Tensor g = keeps ? empty_like(h) : Tensor();
    gemm_batch(x.device(), {h, x, up.transpose(0, 1), bias_of(up_bias), 0, {Epilogue::gelu, f, g}});
    gemm_batch(x.device(), {y.reshape({rows, down.dim(0)}), keeps ? g : h, down.transpose(0, 1), bias_of(down_bias), 0,
                            adding(packed_residual("mlp", residual, y))});
  }

  // with g = gelu(h):   dh = dy down gelu'(h)     ddown = dy^T g     dx = dh up     dup = dh^T x
  Saved saved = needs_grad(up) ? Saved(input) : Saved();
  return record("mlp", y, {input, up, up_bias, down, down_bias, residual},
                [saved, h, up = up.detach(), down = down.detach(), rows, f, shape = input.shape()](const Tensor& grad, std::span<GradSink> dx) {
    Tensor dy = packed(grad).reshape({rows, down.dim(0)});
    Tensor dh = h;  // a graph is run backward once, and nobody else has h
    {
      Tensor g = dx[3].needed() ? empty_like(h) : Tensor();
      gemm_batch(dy.device(), {dh, dy, down, {}, 0, {Epilogue::gelu_backward, f, g}});
      if (dx[3].needed()) { put_weight_gradient(dx[3], down, dy, g); }
    }
    if (dx[4].needed()) { put_bias_gradient(dx[4], dy); }
    if (dx[1].needed()) { put_weight_gradient(dx[1], up, dh, packed(saved.get()).reshape({rows, up.dim(1)})); }
    if (dx[2].needed()) { put_bias_gradient(dx[2], dh); }
    if (dx[0].needed()) {
      Tensor dinput = empty(shape, up.dtype(), up.device());
      gemm_batch(up.device(), {dinput.reshape({rows, up.dim(1)}), dh, up, {}, 0});
      dx[0].put(dinput);
    }
    if (dx[5].needed()) { dx[5].put(grad); }
  });
}

}  // namespace pumice
