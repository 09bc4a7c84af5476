#include "pumice/ops/norm/layer_norm.h"

#include "pumice/autograd/saved.h"
#include "pumice/ops/norm/layer_norm_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(layer_norm_fwd, LayerNormFwd);
PUMICE_DEFINE_KERNEL(layer_norm_bwd, LayerNormBwd);

Tensor layer_norm(const Tensor& input, const Tensor& w, const Tensor& b, double eps) {
  require_float("layer_norm", "x", input);
  REQUIRE(ShapeError, input.rank() >= 1, "[layer_norm] x must be (..., C), got ", input.shape());
  REQUIRE(ShapeError, w.shape() == Shape{input.dim(-1)} && b.shape() == w.shape(), "[layer_norm] w and b must be (C) = (", input.dim(-1),
          ") for x ", input.shape(), ", got w ", w.shape(), " and b ", b.shape());
  require_parameter_dtype("layer_norm", "w", w, input.dtype());
  require_parameter_dtype("layer_norm", "b", b, input.dtype());
  require_same_device("layer_norm", input, w);
  Tensor x = packed(input.detach());
  int64_t C = x.dim(-1), R = C ? x.size() / C : 0;

  Tensor mean = empty({R}, w.dtype(), x.device()), rstd = empty_like(mean);
  const auto value = [x, mean, rstd, w = packed(w.detach()), b = packed(b.detach()), R, C, eps] {
    Tensor y = empty_like(x);
    layer_norm_fwd(x.device(), {y, mean, rstd, x, w, b, R, C, eps});
    return y;
  };

  // dnorm = dy * w
  // dx = rstd * (dnorm - mean_C(dnorm) - norm * mean_C(dnorm * norm))    dw = sum_R(dy * norm)    db = sum_R(dy)
  Tensor y = record("layer_norm", value(), {input, w, b}, [x, w = packed(w.detach()), mean, rstd, R, C](const Tensor& dy, std::span<GradSink> dx) {
    const int64_t rows_per_block = 64, blocks = (R + rows_per_block - 1) / rows_per_block;
    const auto [dinput, beta] = dx[0].needed() ? dx[0].place() : GradSink::Place{};
    Tensor dw = zeros(w.shape(), w.dtype(), w.device()), db = zeros(w.shape(), w.dtype(), w.device());
    Tensor scratch = empty({2, blocks, C}, w.dtype(), w.device());
    layer_norm_bwd(x.device(), {dinput, dw, db, packed(dy), x, w, mean, rstd, scratch, R, C, rows_per_block, beta});
    if (dx[0].needed()) { dx[0].put(dinput); }
    dx[1].put(dw);
    dx[2].put(db);
  });
  return remakeable(y, value);
}

}  // namespace pumice
