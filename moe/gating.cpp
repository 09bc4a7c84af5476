#include "pumice/moe/gating.h"

#include "pumice/autograd/autograd.h"
#include "pumice/moe/gating_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(gating_fwd, GatingFwd);
PUMICE_DEFINE_KERNEL(gating_bwd, GatingBwd);
PUMICE_DEFINE_KERNEL(renormalise_kept_fwd, RenormaliseFwd);
PUMICE_DEFINE_KERNEL(renormalise_kept_bwd, RenormaliseBwd);

namespace {

void require_noise(const char* operand, const Tensor& noise, const Tensor& logits) {
  if (!noise.defined()) { return; }
  require_dtype("gating", operand, noise, DType::f32);
  REQUIRE(ShapeError, noise.shape() == logits.shape(), "[gating] ", operand, " must have the shape of logits ", logits.shape(), ", got ",
          noise.shape());
  require_same_device("gating", noise, logits);
}

}  // namespace

Gating gate_tokens(const Tensor& input, const Tensor& noise, const Tensor& gumbel, int per_token) {
  REQUIRE(ShapeError, input.rank() == 2 && input.dim(1) >= 1, "[gating] logits must be (T, E), got ", input.shape());
  REQUIRE(DTypeError, input.dtype() == DType::f32 || input.dtype() == DType::f64, "[gating] logits must be f32 or f64, got ",
          name(input.dtype()), " ", input.shape(), ": cast the tokens to f32 before the router");
  const int64_t T = input.dim(0), E = input.dim(1), K = per_token;
  REQUIRE(UsageError, K >= 1 && K <= E, "[gating] experts per token must be in 1..", E, " for logits ", input.shape(), ", got ", K);
  REQUIRE(UsageError, !gumbel.defined() || K == 2, "[gating] a Gumbel second choice needs 2 experts per token, got ", K);
  require_noise("noise", noise, input);
  require_noise("gumbel", gumbel, input);

  Tensor logits = packed(input.detach()), probs = empty_like(logits), gate = empty({T, K}, logits.dtype(), logits.device());
  Gating g;
  g.lse = empty({T}, logits.dtype(), logits.device());
  g.expert = empty({T, K}, DType::i32, logits.device());
  g.noisy_lse = noise.defined() ? empty_like(g.lse) : g.lse;
  g.noisy = noise.defined() ? empty_like(logits) : logits;
  g.clean = noise.defined() ? empty_like(logits) : probs.detach();
  gating_fwd(logits.device(), {noise.defined() ? g.noisy : Tensor(), noise.defined() ? g.clean : Tensor(), g.lse,
                               noise.defined() ? g.noisy_lse : Tensor(), probs, g.expert, gate, logits,
                               noise.defined() ? packed(noise) : Tensor(), gumbel.defined() ? packed(gumbel) : Tensor(), T, E, K});

  // dp = dprobs + sum_k(dgate_k at expert k)      dlogits = p * (dp - sum_E(dp * p))
  auto recorded = record("gating", {probs, gate}, {input},
                         [probs, expert = g.expert, T, E, K](std::span<const Tensor> dy, std::span<GradSink> dx) {
    Tensor dlogits = empty_like(probs);
    gating_bwd(probs.device(), {dlogits, dy[0].defined() ? packed(dy[0]) : Tensor(), dy[1].defined() ? packed(dy[1]) : Tensor(), probs, expert,
                                T, E, K});
    dx[0].put(dlogits);
  });
  g.probs = recorded[0];
  g.gate = recorded[1];
  return g;
}

Tensor renormalise_kept(const Tensor& input, const Tensor& row) {
  require_dtype("renormalise_kept", "row", row, DType::i32);
  REQUIRE(ShapeError, input.rank() == 2 && input.shape() == row.shape(), "[renormalise_kept] gate and row must both be (T, K), got ",
          input.shape(), " and ", row.shape());
  require_same_device("renormalise_kept", input, row);
  const int64_t T = input.dim(0), K = input.dim(1);
  Tensor gate = packed(input.detach()), y = empty_like(gate), kept = packed(row);
  renormalise_kept_fwd(gate.device(), {y, gate, kept, T, K});

  // y_k = g_k / sum_kept(g)      dg_k = (dy_k - sum_kept(dy * y)) / sum_kept(g), and 0 for dropped choices
  return record("renormalise_kept", y, {input}, [y, gate, kept, T, K](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dgate = empty_like(gate);
    renormalise_kept_bwd(gate.device(), {dgate, packed(dy), y, gate, kept, T, K});
    dx[0].put(dgate);
  });
}

}  // namespace pumice
