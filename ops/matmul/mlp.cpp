#include "pumice/ops/matmul/mlp.h"

#include <algorithm>
#include <initializer_list>

#include "pumice/autograd/saved.h"
#include "pumice/ops/elementwise/unary_kernels.h"
#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/matmul/linear_parts.h"
#include "pumice/ops/require.h"

namespace pumice {
namespace {

void require_layer(const char* op, const char* name, const Tensor& x, int64_t in, const Tensor& w, const Tensor& b) {
  REQUIRE(ShapeError, w.rank() == 2 && w.dim(1) == in, "[", op, "] ", name, " must be (out, in) = (..., ", in, "), got ", w.shape());
  require_dtype(op, name, w, x.dtype());
  require_same_device(op, x, w);
  if (!b.defined()) { return; }
  REQUIRE(ShapeError, b.shape() == Shape{w.dim(0)}, "[", op, "] the bias of ", name, " must be (", w.dim(0), "), got ", b.shape());
  require_parameter_dtype(op, "bias", b, x.dtype());
}

// Whether a backward pass will want what is between.
bool will_be_asked(std::initializer_list<const Tensor*> tensors) {
  return grad_enabled() && std::any_of(tensors.begin(), tensors.end(), [](const Tensor* t) { return t->defined() && needs_grad(*t); });
}

Shape with_last(Shape shape, int64_t n) {
  shape[shape.rank() - 1] = n;
  return shape;
}

Tensor bias_of(const Tensor& b) { return b.defined() ? packed(b) : Tensor(); }

}  // namespace

Tensor mlp(const Tensor& input, const Tensor& up, const Tensor& up_bias, const Tensor& down, const Tensor& down_bias, Gelu form,
           const Tensor& residual) {
  require_float("mlp", "x", input);
  REQUIRE(ShapeError, input.rank() >= 1, "[mlp] x must be (..., in), got ", input.shape());
  require_layer("mlp", "up", input, input.dim(-1), up, up_bias);
  require_layer("mlp", "down", input, up.dim(0), down, down_bias);
  const int64_t in = up.dim(1), hidden = up.dim(0), rows = in ? input.size() / in : input.shape().elements();
  const Unary f = unary_of(form);
  const bool keeps = will_be_asked({&input, &up, &up_bias, &down, &down_bias});
  const Shape shape = with_last(input.shape(), down.dim(0));
  Tensor x = packed(input).reshape({rows, in}), h = empty({rows, hidden}, x.dtype(), x.device()), y = empty(shape, x.dtype(), x.device());
  {
    Tensor g = keeps ? empty_like(h) : Tensor();
    gemm_batch(x.device(), {h, x, up.transpose(0, 1), bias_of(up_bias), 0, {.kind = Epilogue::gelu, .f = f, .y = g}});
    gemm_batch(x.device(), {y.reshape({rows, down.dim(0)}), keeps ? g : h, down.transpose(0, 1), bias_of(down_bias), 0,
                            adding(packed_residual("mlp", residual, y))});
  }

  // with g = gelu(h):   dh = dy down gelu'(h)     ddown = dy^T g     dx = dh up     dup = dh^T x
  Saved saved = needs_grad(up) ? Saved(input) : Saved();
  return record("mlp", y, {input, up, up_bias, down, down_bias, residual},
                [saved, h, up = up.detach(), down = down.detach(), rows, f](const Tensor& grad, std::span<GradSink> dx) {
    Tensor dy = packed(grad).reshape({rows, down.dim(0)});
    Tensor dh = h;  // a graph is run backward once, and nobody else has h
    {
      Tensor g = dx[3].needed() ? empty_like(h) : Tensor();
      gemm_batch(dy.device(), {dh, dy, down, {}, 0, {.kind = Epilogue::gelu_backward, .f = f, .y = g}});
      if (dx[3].needed()) { put_weight_gradient(dx[3], down, dy, g); }
    }
    if (dx[4].needed()) { put_bias_gradient(dx[4], dy); }
    if (dx[1].needed()) { put_weight_gradient(dx[1], up, dh, packed(saved.get()).reshape({rows, up.dim(1)})); }
    if (dx[2].needed()) { put_bias_gradient(dx[2], dh); }
    if (dx[0].needed()) {
      const auto [dinput, beta] = dx[0].place();
      gemm_batch(up.device(), {dinput.reshape({rows, up.dim(1)}), dh, up, {}, beta});
      dx[0].put(dinput);
    }
    if (dx[5].needed()) { dx[5].put(grad); }
  });
}

Tensor swiglu_mlp(const Tensor& input, const Tensor& gate, const Tensor& up, const Tensor& down, const Tensor& residual) {
  require_float("swiglu_mlp", "x", input);
  REQUIRE(ShapeError, input.rank() >= 1, "[swiglu_mlp] x must be (..., in), got ", input.shape());
  require_layer("swiglu_mlp", "gate", input, input.dim(-1), gate, Tensor());
  require_layer("swiglu_mlp", "up", input, input.dim(-1), up, Tensor());
  REQUIRE(ShapeError, gate.dim(0) == up.dim(0), "[swiglu_mlp] gate and up must have one shape, got ", gate.shape(), " and ", up.shape());
  require_layer("swiglu_mlp", "down", input, up.dim(0), down, Tensor());
  const int64_t in = up.dim(1), hidden = up.dim(0), rows = in ? input.size() / in : input.shape().elements();
  const bool keeps = will_be_asked({&input, &gate, &up, &down});
  Tensor x = packed(input).reshape({rows, in}), a = empty({rows, hidden}, x.dtype(), x.device()), b = empty_like(a);
  Tensor y = empty(with_last(input.shape(), down.dim(0)), x.dtype(), x.device());
  {
    Tensor g = keeps ? empty_like(b) : Tensor();
    gemm_batch(x.device(), {a, x, gate.transpose(0, 1), {}, 0});
    gemm_batch(x.device(), {b, x, up.transpose(0, 1), {}, 0, {.kind = Epilogue::swiglu, .y = g, .other = a}});
    gemm_batch(x.device(), {y.reshape({rows, down.dim(0)}), keeps ? g : b, down.transpose(0, 1), {}, 0, adding(packed_residual("swiglu_mlp", residual, y))});
  }

  // with a = x gate^T, b = x up^T and g = silu(a) b:   dg = dy down     da = dg b silu'(a)     db = dg silu(a)     ddown = dy^T g
  // dx = da gate + db up     dgate = da^T x     dup = db^T x
  Saved saved = needs_grad(gate) || needs_grad(up) ? Saved(input) : Saved();
  return record("swiglu_mlp", y, {input, gate, up, down, residual},
                [saved, a, b, gate = gate.detach(), up = up.detach(), down = down.detach(), rows](const Tensor& grad, std::span<GradSink> dx) {
    Tensor dy = packed(grad).reshape({rows, down.dim(0)});
    Tensor da = a, db = b;  // as of mlp()
    {
      Tensor g = dx[3].needed() ? empty_like(b) : Tensor();
      gemm_batch(dy.device(), {db, dy, down, {}, 0, {.kind = Epilogue::swiglu_backward, .y = g, .other = da}});
      if (dx[3].needed()) { put_weight_gradient(dx[3], down, dy, g); }
    }
    if (dx[1].needed() || dx[2].needed()) {
      Tensor x = packed(saved.get()).reshape({rows, up.dim(1)});
      if (dx[1].needed()) { put_weight_gradient(dx[1], gate, da, x); }
      if (dx[2].needed()) { put_weight_gradient(dx[2], up, db, x); }
    }
    if (dx[0].needed()) {
      const auto [dinput, beta] = dx[0].place();
      const Tensor flat = dinput.reshape({rows, up.dim(1)});
      gemm_batch(up.device(), {flat, db, up, {}, beta});
      gemm_batch(up.device(), {flat, da, gate, {}, 1});
      dx[0].put(dinput);
    }
    if (dx[4].needed()) { dx[4].put(grad); }
  });
}

}  // namespace pumice
