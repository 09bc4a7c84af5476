#include "pumice/ops/reduce/softmax.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/reduce/softmax_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(softmax_fwd, SoftmaxFwd);
PUMICE_DEFINE_KERNEL(softmax_bwd, SoftmaxBwd);
PUMICE_DEFINE_KERNEL(log_softmax_fwd, LogSoftmaxFwd);
PUMICE_DEFINE_KERNEL(log_softmax_bwd, LogSoftmaxBwd);

Tensor softmax(const Tensor& input) {
  require_float("softmax", "x", input);
  REQUIRE(ShapeError, input.rank() >= 1, "[softmax] x must be (..., C), got ", input.shape());
  Tensor x = packed(input), y = empty_like(x);
  int64_t C = x.dim(-1), R = C ? x.size() / C : 0;
  softmax_fwd(x.device(), {y, x, R, C});

  // dx = y * (dy - sum_C(dy * y))
  return record("softmax", y, {input}, [y, R, C](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dinput = empty_like(y);
    softmax_bwd(y.device(), {dinput, packed(dy), y, R, C});
    dx[0].put(dinput);
  });
}

Tensor log_softmax(const Tensor& input) {
  require_float("log_softmax", "x", input);
  REQUIRE(ShapeError, input.rank() >= 1, "[log_softmax] x must be (..., C), got ", input.shape());
  Tensor x = packed(input), y = empty_like(x);
  int64_t C = x.dim(-1), R = C ? x.size() / C : 0;
  Tensor lse = empty({R}, x.dtype() == DType::f64 ? DType::f64 : DType::f32, x.device());
  log_softmax_fwd(x.device(), {y, lse, x, R, C});

  // dx = dy - exp(x - lse) * sum_C(dy)        from x and lse: exp(y) of a rounded bf16 y would be off by its exponent
  return record("log_softmax", y, {input}, [x, lse, R, C](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dinput = empty_like(x);
    log_softmax_bwd(x.device(), {dinput, packed(dy), x, lse, R, C});
    dx[0].put(dinput);
  });
}

}  // namespace pumice
