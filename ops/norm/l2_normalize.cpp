#include "pumice/ops/norm/l2_normalize.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/norm/l2_normalize_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(l2_normalize_fwd, L2NormalizeFwd);
PUMICE_DEFINE_KERNEL(l2_normalize_bwd, L2NormalizeBwd);

Tensor l2_normalize(const Tensor& input, double eps) {
  require_float("l2_normalize", "x", input);
  REQUIRE(ShapeError, input.rank() >= 1, "[l2_normalize] x must be (..., C), got ", input.shape());
  Tensor x = packed(input), y = empty_like(x);
  int64_t C = x.dim(-1), R = C ? x.size() / C : 0;
  Tensor norm = empty({R}, x.dtype() == DType::f64 ? DType::f64 : DType::f32, x.device());
  l2_normalize_fwd(x.device(), {y, norm, x, R, C, eps});

  // dx = (dy - x * sum_C(dy * x) / (|x| * (|x| + eps))) / (|x| + eps)
  return record("l2_normalize", y, {input}, [x, norm, R, C, eps](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dinput = empty_like(x);
    l2_normalize_bwd(x.device(), {dinput, packed(dy), x, norm, R, C, eps});
    dx[0].put(dinput);
  });
}

}  // namespace pumice
