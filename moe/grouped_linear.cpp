#include "pumice/moe/grouped_linear.h"

#include "pumice/autograd/saved.h"
#include "pumice/moe/grouped_linear_kernels.h"
#include "pumice/ops/elementwise/unary_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(grouped_forward, GroupedForward);
PUMICE_DEFINE_KERNEL(grouped_dgrad, GroupedDgrad);
PUMICE_DEFINE_KERNEL(grouped_wgrad, GroupedWgrad);
PUMICE_DEFINE_KERNEL(grouped_bias, GroupedBias);

namespace {

void require_offsets(const char* op, const Tensor& offsets, int64_t experts, int64_t rows) {
  require_dtype(op, "offsets", offsets, DType::i32);
  REQUIRE(ShapeError, offsets.shape() == Shape{experts + 1}, "[", op, "] offsets must be (E + 1) = (", experts + 1, "), got ", offsets.shape());
  if (offsets.device().kind != Device::kCpu) { return; }  // the kernels look, so that the host does not wait for the device
  const int32_t* o = offsets.data<int32_t>();
  bool ordered = o[0] == 0 && o[experts] == rows;
  for (int64_t e = 0; e < experts; ++e) { ordered &= o[e] <= o[e + 1]; }
  REQUIRE(ShapeError, ordered, "[", op, "] offsets must rise from 0 to the ", rows, " rows of x, got ", o[0], " to ", o[experts]);
}

void require_weights(const char* op, const char* name, const Tensor& x, int64_t in, const Tensor& w, const Tensor& b) {
  REQUIRE(ShapeError, w.rank() == 3 && w.dim(2) == in, "[", op, "] x (R, in) and ", name, " (E, out, in) are required, got x ", x.shape(), " and ", name, " ",
          w.shape());
  require_dtype(op, name, w, x.dtype());
  require_same_device(op, x, w);
  REQUIRE(ShapeError, !b.defined() || b.shape() == (Shape{w.dim(0), w.dim(1)}), "[", op, "] the bias of ", name, " must be (E, out) = (", w.dim(0), ", ",
          w.dim(1), "), got ", b.defined() ? b.shape() : Shape{});
  if (b.defined()) { require_parameter_dtype(op, "bias", b, x.dtype()); }
}

// `x` (R, in) packed.
void put_weight_gradient(GradSink& sink, const Tensor& w, const Tensor& dy, const Tensor& x, const Tensor& offsets) {
  const bool leaf = sink.is_leaf();
  Tensor dw = leaf ? sink.accumulator() : empty_like(w);
  grouped_wgrad(dy.device(), {dw, dy, x, offsets, leaf ? 1 : 0});
  if (!leaf) { sink.put(dw); }
}
void put_bias_gradient(GradSink& sink, const Tensor& w, const Tensor& dy, const Tensor& offsets) {
  const bool leaf = sink.is_leaf();
  Tensor db = leaf ? sink.accumulator() : zeros({w.dim(0), w.dim(1)}, dy.dtype() == DType::f64 ? DType::f64 : DType::f32, dy.device());
  grouped_bias(dy.device(), {db, dy, offsets});
  if (!leaf) { sink.put(db); }
}

Tensor bias_of(const Tensor& b) { return b.defined() ? packed(b) : Tensor(); }

}  // namespace

Tensor grouped_linear(const Tensor& input, const Tensor& w, const Tensor& b, const Tensor& row_offsets) {
  require_float("grouped_linear", "x", input);
  REQUIRE(ShapeError, input.rank() == 2, "[grouped_linear] x must be (R, in), got ", input.shape());
  require_weights("grouped_linear", "w", input, input.dim(1), w, b);
  Tensor offsets = packed(row_offsets), x = packed(input), weight = packed(w);
  require_offsets("grouped_linear", offsets, w.dim(0), x.dim(0));
  offsets = to_device(offsets, x.device());
  Tensor y = empty({x.dim(0), w.dim(1)}, x.dtype(), x.device());
  grouped_forward(x.device(), {y, x, weight, bias_of(b), offsets});

  // per expert: dx = dy w     dw = dy^T x     db = sum over rows of dy
  Saved saved = needs_grad(w) ? Saved(input) : Saved();
  return record("grouped_linear", y, {input, w, b}, [saved, weight, offsets](const Tensor& grad, std::span<GradSink> dx) {
    Tensor dy = packed(grad);
    if (dx[1].needed()) { put_weight_gradient(dx[1], weight, dy, packed(saved.get()), offsets); }  // before dx, so that what is made again for it is gone by then
    if (dx[0].needed()) {
      Tensor dinput = empty({dy.dim(0), weight.dim(2)}, dy.dtype(), dy.device());
      grouped_dgrad(dy.device(), {dinput, dy, weight, offsets});
      dx[0].put(dinput);
    }
    if (dx[2].needed()) { put_bias_gradient(dx[2], weight, dy, offsets); }
  });
}

Tensor grouped_mlp(const Tensor& input, const Tensor& up_in, const Tensor& up_bias, const Tensor& down_in, const Tensor& down_bias, const Tensor& row_offsets,
                   Gelu form) {
  require_float("grouped_mlp", "x", input);
  REQUIRE(ShapeError, input.rank() == 2, "[grouped_mlp] x must be (R, in), got ", input.shape());
  require_weights("grouped_mlp", "up", input, input.dim(1), up_in, up_bias);
  require_weights("grouped_mlp", "down", input, up_in.dim(1), down_in, down_bias);
  REQUIRE(ShapeError, up_in.dim(0) == down_in.dim(0), "[grouped_mlp] up and down must have as many experts, got ", up_in.dim(0), " and ", down_in.dim(0));
  Tensor offsets = packed(row_offsets), x = packed(input), up = packed(up_in), down = packed(down_in);
  require_offsets("grouped_mlp", offsets, up.dim(0), x.dim(0));
  offsets = to_device(offsets, x.device());
  const int64_t rows = x.dim(0);
  const Unary f = unary_of(form);
  bool keeps = false;
  for (const Tensor* t : {&input, &up_in, &up_bias, &down_in, &down_bias}) { keeps |= grad_enabled() && t->defined() && needs_grad(*t); }
  Tensor h = empty({rows, up.dim(1)}, x.dtype(), x.device()), y = empty({rows, down.dim(1)}, x.dtype(), x.device());
  {
    Tensor g = keeps ? empty_like(h) : Tensor();
    grouped_forward(x.device(), {h, x, up, bias_of(up_bias), offsets, {.kind = Epilogue::gelu, .f = f, .y = g}});
    grouped_forward(x.device(), {y, keeps ? g : h, down, bias_of(down_bias), offsets});
  }

  // per expert, as of mlp()
  Saved saved = needs_grad(up_in) ? Saved(input) : Saved();
  return record("grouped_mlp", y, {input, up_in, up_bias, down_in, down_bias}, [saved, h, up, down, offsets, f](const Tensor& grad, std::span<GradSink> dx) {
    Tensor dy = packed(grad), dh = h;  // a graph is run backward once, and nobody else has h
    {
      Tensor g = dx[3].needed() ? empty_like(h) : Tensor();
      grouped_dgrad(dy.device(), {dh, dy, down, offsets, {.kind = Epilogue::gelu_backward, .f = f, .y = g}});
      if (dx[3].needed()) { put_weight_gradient(dx[3], down, dy, g, offsets); }
    }
    if (dx[4].needed()) { put_bias_gradient(dx[4], down, dy, offsets); }
    if (dx[1].needed()) { put_weight_gradient(dx[1], up, dh, packed(saved.get()), offsets); }
    if (dx[2].needed()) { put_bias_gradient(dx[2], up, dh, offsets); }
    if (dx[0].needed()) {
      Tensor dinput = empty({dy.dim(0), up.dim(2)}, dy.dtype(), dy.device());
      grouped_dgrad(dy.device(), {dinput, dh, up, offsets});
      dx[0].put(dinput);
    }
  });
}

Tensor grouped_swiglu_mlp(const Tensor& input, const Tensor& gate_in, const Tensor& up_in, const Tensor& down_in, const Tensor& row_offsets) {
  const char* op = "grouped_swiglu_mlp";
  require_float(op, "x", input);
  REQUIRE(ShapeError, input.rank() == 2, "[", op, "] x must be (R, in), got ", input.shape());
  require_weights(op, "gate", input, input.dim(1), gate_in, Tensor());
  require_weights(op, "up", input, input.dim(1), up_in, Tensor());
  REQUIRE(ShapeError, gate_in.shape() == up_in.shape(), "[", op, "] gate and up must have one shape, got ", gate_in.shape(), " and ", up_in.shape());
  require_weights(op, "down", input, up_in.dim(1), down_in, Tensor());
  REQUIRE(ShapeError, up_in.dim(0) == down_in.dim(0), "[", op, "] up and down must have as many experts, got ", up_in.dim(0), " and ", down_in.dim(0));
  Tensor offsets = packed(row_offsets), x = packed(input), gate = packed(gate_in), up = packed(up_in), down = packed(down_in);
  require_offsets(op, offsets, up.dim(0), x.dim(0));
  offsets = to_device(offsets, x.device());
  const int64_t rows = x.dim(0);
  bool keeps = false;
  for (const Tensor* t : {&input, &gate_in, &up_in, &down_in}) { keeps |= grad_enabled() && needs_grad(*t); }
  Tensor a = empty({rows, up.dim(1)}, x.dtype(), x.device()), b = empty_like(a), y = empty({rows, down.dim(1)}, x.dtype(), x.device());
  {
    Tensor g = keeps ? empty_like(b) : Tensor();
    grouped_forward(x.device(), {a, x, gate, {}, offsets});
    grouped_forward(x.device(), {b, x, up, {}, offsets, {.kind = Epilogue::swiglu, .y = g, .other = a}});
    grouped_forward(x.device(), {y, keeps ? g : b, down, {}, offsets});
  }

  // per expert, as of swiglu_mlp()
  Saved saved = needs_grad(gate_in) || needs_grad(up_in) ? Saved(input) : Saved();
  return record(op, y, {input, gate_in, up_in, down_in}, [saved, a, b, gate, up, down, offsets](const Tensor& grad, std::span<GradSink> dx) {
    Tensor dy = packed(grad), da = a, db = b;
    {
      Tensor g = dx[3].needed() ? empty_like(b) : Tensor();
      grouped_dgrad(dy.device(), {db, dy, down, offsets, {.kind = Epilogue::swiglu_backward, .y = g, .other = da}});
      if (dx[3].needed()) { put_weight_gradient(dx[3], down, dy, g, offsets); }
    }
    if (dx[1].needed() || dx[2].needed()) {
      Tensor x = packed(saved.get());
      if (dx[1].needed()) { put_weight_gradient(dx[1], gate, da, x, offsets); }
      if (dx[2].needed()) { put_weight_gradient(dx[2], up, db, x, offsets); }
    }
    if (dx[0].needed()) {
      Tensor dinput = empty({dy.dim(0), up.dim(2)}, dy.dtype(), dy.device()), of_gate = empty_like(dinput);
      grouped_dgrad(dy.device(), {of_gate, da, gate, offsets});
      grouped_dgrad(dy.device(), {dinput, db, up, offsets, {.kind = Epilogue::add, .other = of_gate}});
      dx[0].put(dinput);
    }
  });
}

}  // namespace pumice
