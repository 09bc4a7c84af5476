#include "pumice/ops/elementwise/swiglu.h"

#include "pumice/autograd/saved.h"
#include "pumice/ops/elementwise/swiglu_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(swiglu_fwd, SwigluFwd);
PUMICE_DEFINE_KERNEL(swiglu_bwd, SwigluBwd);

Tensor swiglu(const Tensor& gate_in, const Tensor& up_in) {
  require_float("swiglu", "gate", gate_in);
  require_dtype("swiglu", "up", up_in, gate_in.dtype());
  require_same_device("swiglu", gate_in, up_in);
  REQUIRE(ShapeError, gate_in.shape() == up_in.shape(), "[swiglu] gate and up must have one shape, got ", gate_in.shape(), " and ", up_in.shape());
  Tensor gate = packed(gate_in.detach()), up = packed(up_in.detach());
  const auto value = [gate, up] {
    Tensor y = empty_like(gate);
    if (y.size()) { swiglu_fwd(y.device(), {y, gate, up}); }
    return y;
  };

  // s = sigmoid(gate):  dgate = dy up s (1 + gate (1 - s))     dup = dy gate s
  Tensor y = record("swiglu", value(), {gate_in, up_in}, [gate, up](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dgate = empty_like(gate), dup = empty_like(up);
    if (gate.size()) { swiglu_bwd(gate.device(), {dgate, dup, packed(dy), gate, up}); }
    dx[0].put(dgate);
    dx[1].put(dup);
  });
  return remakeable(y, value);
}

}  // namespace pumice
