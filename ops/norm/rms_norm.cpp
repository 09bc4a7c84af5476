#include "pumice/ops/norm/rms_norm.h"

#include "pumice/autograd/saved.h"
#include "pumice/ops/norm/rms_norm_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(rms_norm_fwd, RmsNormFwd);
PUMICE_DEFINE_KERNEL(rms_norm_bwd, RmsNormBwd);

Tensor rms_norm(const Tensor& input, const Tensor& w, double eps) {
  require_float("rms_norm", "x", input);
  REQUIRE(ShapeError, input.rank() >= 1, "[rms_norm] x must be (..., C), got ", input.shape());
  REQUIRE(ShapeError, w.shape() == Shape{input.dim(-1)}, "[rms_norm] w must be (C) = (", input.dim(-1), ") for x ", input.shape(), ", got ", w.shape());
  require_parameter_dtype("rms_norm", "w", w, input.dtype());
  require_same_device("rms_norm", input, w);
  Tensor x = packed(input.detach());
  const int64_t C = x.dim(-1), R = C ? x.size() / C : 0;

  Tensor rrms = empty({R}, w.dtype(), x.device());
  const auto value = [x, rrms, w = packed(w.detach()), R, C, eps] {
    Tensor y = empty_like(x);
    rms_norm_fwd(x.device(), {y, rrms, x, w, R, C, eps});
    return y;
  };

  // norm = x rrms     dnorm = dy * w
  // dx = rrms * (dnorm - norm * mean_C(dnorm * norm))     dw = sum_R(dy * norm)
  Tensor y = record("rms_norm", value(), {input, w}, [x, w = packed(w.detach()), rrms, R, C](const Tensor& dy, std::span<GradSink> dx) {
    const int64_t rows_per_block = 64, blocks = (R + rows_per_block - 1) / rows_per_block;
    const auto [dinput, beta] = dx[0].needed() ? dx[0].place() : GradSink::Place{};
    Tensor dw = zeros(w.shape(), w.dtype(), w.device()), scratch = empty({blocks, C}, w.dtype(), w.device());
    rms_norm_bwd(x.device(), {dinput, dw, packed(dy), x, w, rrms, scratch, R, C, rows_per_block, beta});
    if (dx[0].needed()) { dx[0].put(dinput); }
    dx[1].put(dw);
  });
  return remakeable(y, value);
}

}  // namespace pumice
