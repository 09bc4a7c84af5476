#include "pumice/moe/dispatch.h"

#include "pumice/autograd/saved.h"
#include "pumice/moe/dispatch_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(dispatch_rows, DispatchRows);
PUMICE_DEFINE_KERNEL(combine_rows, CombineRows);
PUMICE_DEFINE_KERNEL(combine_rows_bwd, CombineRowsBwd);

Tensor dispatch(const Tensor& input, const Routing& routing) {
  require_float("dispatch", "x", input);
  require_same_device("dispatch", input, routing.token_of_row);
  REQUIRE(ShapeError, input.rank() == 2 && input.dim(0) == routing.tokens(), "[dispatch] x must be (T, C) with T = ", routing.tokens(),
          " routed tokens, got ", input.shape());
  const int64_t T = input.dim(0), C = input.dim(1), R = routing.rows(), K = routing.experts_per_token();
  const auto rows_of = [token = routing.token_of_row, R, C](const Tensor& input) {
    Tensor x = packed(input.detach()), y = empty({R, C}, x.dtype(), x.device());
    dispatch_rows(x.device(), {y, x, token, R, C});
    return y;
  };

  // dx[t] = sum_k(dy[row[t, k]])
  Tensor y = record("dispatch", rows_of(input), {input}, [row = routing.row, T, C, K](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dinput = empty({T, C}, dy.dtype(), dy.device());
    combine_rows(dy.device(), {dinput, packed(dy), Tensor(), row, T, K, C});
    dx[0].put(dinput);
  });
  return remakeable(y, [rows_of, x = Saved(input)] { return rows_of(x.get()); });
}

Tensor combine(const Tensor& input, const Routing& routing) {
  require_float("combine", "y", input);
  require_same_device("combine", input, routing.row);
  REQUIRE(ShapeError, input.rank() == 2 && input.dim(0) == routing.rows(), "[combine] y must be (R, C) with R = ", routing.rows(),
          " dispatched rows, got ", input.shape());
  require_parameter_dtype("combine", "gate", routing.gate, input.dtype());
  const int64_t T = routing.tokens(), C = input.dim(1), K = routing.experts_per_token();
  Tensor y = packed(input.detach()), gate = packed(routing.gate.detach()), out = empty({T, C}, y.dtype(), y.device());
  combine_rows(y.device(), {out, y, gate, routing.row, T, K, C});

  // dy[row[t, k]] = gate[t, k] * dout[t]      dgate[t, k] = dout[t] . y[row[t, k]], and 0 for dropped choices
  return record("combine", out, {input, routing.gate},
                [y, gate, row = routing.row, offsets = routing.expert_offsets, T, K, C](const Tensor& dout, std::span<GradSink> dx) {
    Tensor dy = dx[0].needed() ? empty_like(y) : Tensor(), dgate = dx[1].needed() ? empty_like(gate) : Tensor();
    combine_rows_bwd(y.device(), {dy, dgate, packed(dout), y, gate, row, T, K, C, offsets});
    if (dx[0].needed()) { dx[0].put(dy); }
    if (dx[1].needed()) { dx[1].put(dgate); }
  });
}

}  // namespace pumice
