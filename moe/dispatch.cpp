#include "pumice/moe/dispatch.h"

#include "pumice/autograd/autograd.h"
#include "pumice/moe/dispatch_kernels.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(combine_fwd, CombineFwd);
PUMICE_DEFINE_KERNEL(combine_bwd, CombineBwd);

Tensor dispatch(const Tensor& x, const Routing& routing) {
  REQUIRE(ShapeError, x.rank() == 2 && x.dim(0) == routing.groups.tokens(), "[dispatch] x must be (T, C) with T = ", routing.groups.tokens(), ", got ", x.shape());
  return gather_rows(x, routing.token_of_row);
}

Tensor combine(const Tensor& input, const Routing& routing) {
  require_float("combine", "y", input);
  REQUIRE(ShapeError, input.rank() == 2 && input.dim(0) == routing.token_of_row.size(), "[combine] y must be (R, C) with R = ", routing.token_of_row.size(),
          ", got ", input.shape());
  require_parameter_dtype("combine", "the gate", routing.gate, input.dtype());
  Tensor y = packed(input), gate = routing.gate.detach();
  Tensor out = empty({routing.groups.tokens(), y.dim(1)}, y.dtype(), y.device());
  combine_fwd(y.device(), {out, y, gate, routing.row});

  // dy[row] = gate dout[t]     dgate[t, k] = <dout[t], y[row]>, 0 where dropped
  return record("combine", out, {input, routing.gate}, [y, gate, row = routing.row](const Tensor& dout, std::span<GradSink> dx) {
    Tensor dy = dx[0].needed() ? empty_like(y) : Tensor(), dgate = dx[1].needed() ? empty_like(gate) : Tensor();
    combine_bwd(y.device(), {dy, dgate, packed(dout), y, gate, row});
    if (dx[0].needed()) { dx[0].put(dy); }
    if (dx[1].needed()) { dx[1].put(dgate); }
  });
}

}  // namespace pumice
