#include "pumice/moe/moe_mlp.h"

#include "pumice/moe/dispatch.h"
#include "pumice/moe/grouped_linear.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/elementwise/swiglu.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/tensor/rng.h"

namespace pumice {

MoeMlp::MoeMlp(const Scope& scope, int64_t width, int64_t hidden, const RouterOptions& options, bool independent_experts, Expert kind)
    : options(options), site(site_of((scope / "router").path().c_str())) {
  int64_t E = options.experts;
  auto expert = [&](const Init& init) { return independent_experts ? init : init.repeated(); };
  router = scope.parameter("router.weight", {E, width}, Init::lecun_normal(), true);
  const bool gated = kind == Expert::swiglu;
  if (gated) { gate = scope.parameter("experts.gate.weight", {E, hidden, width}, expert(Init::xavier_uniform()), true); }
  up = scope.parameter("experts.up.weight", {E, hidden, width}, expert(Init::xavier_uniform()), true);
  if (!gated) { up_bias = scope.parameter("experts.up.bias", {E, hidden}, expert(Init::normal(1e-6)), false); }
  down = scope.parameter("experts.down.weight", {E, width, hidden}, expert(Init::xavier_uniform()), true);
  if (!gated) { down_bias = scope.parameter("experts.down.bias", {E, width}, expert(Init::normal(1e-6)), false); }
}

namespace {

// y[r] = x[r] w[e]^T + b[e] for the rows r of each expert e.
Tensor experts_linear(const Tensor& x, const Parameter& w, const Parameter* b, const Tensor& offsets) {
  if (!w.in_slices()) { return grouped_linear(x, w.value(x.dtype()), b ? b->value() : Tensor(), offsets); }
  // weights that lie apart in a mapped file: only those of experts with rows are touched
  const std::vector<int32_t> begin = offsets.to_vector<int32_t>();
  std::vector<Tensor> parts;
  for (int64_t e = 0; e < w.shape()[0]; ++e) {
    if (begin[e] == begin[e + 1]) { continue; }
    parts.push_back(linear(slice(x, 0, begin[e], begin[e + 1]), w.slice(e, x.dtype()), b ? b->slice(e, b->dtype()) : Tensor()));
  }
  const int64_t of_no_expert = x.dim(0) - begin.back();
  if (of_no_expert) { parts.push_back(zeros({of_no_expert, w.shape()[1]}, x.dtype(), x.device())); }
  return parts.empty() ? empty({0, w.shape()[1]}, x.dtype(), x.device()) : concat(parts, 0);
}

}  // namespace

Tensor MoeMlp::operator()(const Tensor& x, const TokenGroups& groups, bool training, Routing& routing) const {
  Tensor logits = linear(cast(x, router->dtype()), router->value(), Tensor());  // (T, E) in f32
  routing = route(logits, groups, options, training, site);
  Tensor rows = dispatch(x, routing);                                           // (R, C), sorted by expert
  if (!up->in_slices() && !down->in_slices() && !(gate && gate->in_slices())) {  // as one op
    const Tensor u = up->value(x.dtype()), d = down->value(x.dtype());
    if (gate) { return combine(grouped_swiglu_mlp(rows, gate->value(x.dtype()), u, d, routing.expert_offsets), routing); }
    const auto bias_of = [](const Parameter* b) { return b ? b->value() : Tensor(); };
    return combine(grouped_mlp(rows, u, bias_of(up_bias), d, bias_of(down_bias), routing.expert_offsets, activation), routing);
  }
  Tensor hidden = experts_linear(rows, *up, up_bias, routing.expert_offsets);
  hidden = gate ? swiglu(experts_linear(rows, *gate, nullptr, routing.expert_offsets), hidden) : gelu(hidden, activation);
  return combine(experts_linear(hidden, *down, down_bias, routing.expert_offsets), routing);
}

}  // namespace pumice
