#include "pumice/moe/grouped_linear.h"

#include "pumice/autograd/saved.h"
#include "pumice/moe/grouped_linear_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(grouped_forward, GroupedForward);
PUMICE_DEFINE_KERNEL(grouped_dgrad, GroupedDgrad);
PUMICE_DEFINE_KERNEL(grouped_wgrad, GroupedWgrad);
PUMICE_DEFINE_KERNEL(grouped_bias, GroupedBias);

namespace {

void require_offsets(const Tensor& offsets, int64_t experts, int64_t rows) {
  require_dtype("grouped_linear", "offsets", offsets, DType::i32);
  REQUIRE(ShapeError, offsets.shape() == Shape{experts + 1}, "[grouped_linear] offsets must be (E + 1) = (", experts + 1, "), got ", offsets.shape());
  if (offsets.device().kind != Device::kCpu) { return; }  // the kernels look, so that the host does not wait for the device
  const int32_t* o = offsets.data<int32_t>();
  bool ordered = o[0] == 0 && o[experts] == rows;
  for (int64_t e = 0; e < experts; ++e) { ordered &= o[e] <= o[e + 1]; }
  REQUIRE(ShapeError, ordered, "[grouped_linear] offsets must rise from 0 to the ", rows, " rows of x, got ", o[0], " to ", o[experts]);
}

}  // namespace

Tensor grouped_linear(const Tensor& input, const Tensor& w, const Tensor& b, const Tensor& row_offsets) {
  require_float("grouped_linear", "x", input);
  require_dtype("grouped_linear", "w", w, input.dtype());
  REQUIRE(ShapeError, input.rank() == 2 && w.rank() == 3 && input.dim(1) == w.dim(2),
          "[grouped_linear] x (R, in) and w (E, out, in) are required, got x ", input.shape(), " and w ", w.shape());
  REQUIRE(ShapeError, !b.defined() || b.shape() == (Shape{w.dim(0), w.dim(1)}), "[grouped_linear] b must be (E, out) = (", w.dim(0), ", ", w.dim(1),
          "), got ", b.defined() ? b.shape() : Shape{});
  if (b.defined()) { require_parameter_dtype("grouped_linear", "b", b, input.dtype()); }
  require_same_device("grouped_linear", input, w);
  Tensor offsets = packed(row_offsets), x = packed(input), weight = packed(w);
  require_offsets(offsets, w.dim(0), x.dim(0));
  offsets = to_device(offsets, x.device());
  Tensor y = empty({x.dim(0), w.dim(1)}, x.dtype(), x.device());
  grouped_forward(x.device(), {y, x, weight, b.defined() ? packed(b) : Tensor(), offsets});

  // per expert: dx = dy w     dw = dy^T x     db = sum over rows of dy
  Saved saved = needs_grad(w) ? Saved(input) : Saved();
  return record("grouped_linear", y, {input, w, b}, [saved, weight, offsets](const Tensor& grad, std::span<GradSink> dx) {
    Tensor dy = packed(grad);
    if (dx[1].needed()) {  // before dx, so that what is made again for it is gone by then
      const bool leaf = dx[1].is_leaf();
      Tensor dw = leaf ? dx[1].accumulator() : empty_like(weight);
      grouped_wgrad(dy.device(), {dw, dy, packed(saved.get()), offsets, leaf ? 1 : 0});
      if (!leaf) { dx[1].put(dw); }
    }
    if (dx[0].needed()) {
      Tensor dinput = empty({dy.dim(0), weight.dim(2)}, dy.dtype(), dy.device());
      grouped_dgrad(dy.device(), {dinput, dy, weight, offsets});
      dx[0].put(dinput);
    }
    if (dx[2].needed()) {
      const bool leaf = dx[2].is_leaf();
      Tensor db = leaf ? dx[2].accumulator()
                       : zeros({weight.dim(0), weight.dim(1)}, dy.dtype() == DType::f64 ? DType::f64 : DType::f32, dy.device());
      grouped_bias(dy.device(), {db, dy, offsets});
      if (!leaf) { dx[2].put(db); }
    }
  });
}

}  // namespace pumice
