#include "pumice/moe/moe_mlp.h"

#include "pumice/moe/dispatch.h"
#include "pumice/moe/grouped_linear.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/tensor/rng.h"

namespace pumice {

MoeMlp::MoeMlp(const Scope& scope, int64_t width, int64_t hidden, const RouterOptions& options, bool independent_experts)
    : options(options), site(site_of((scope / "router").path().c_str())) {
  int64_t E = options.experts;
  auto expert = [&](const Init& init) { return independent_experts ? init : init.repeated(); };
  router = scope.parameter("router.weight", {E, width}, Init::lecun_normal(), true);
  up = scope.parameter("experts.up.weight", {E, hidden, width}, expert(Init::xavier_uniform()), true);
  up_bias = scope.parameter("experts.up.bias", {E, hidden}, expert(Init::normal(1e-6)), false);
  down = scope.parameter("experts.down.weight", {E, width, hidden}, expert(Init::xavier_uniform()), true);
  down_bias = scope.parameter("experts.down.bias", {E, width}, expert(Init::normal(1e-6)), false);
}

Tensor MoeMlp::operator()(const Tensor& x, const TokenGroups& groups, bool training, Routing& routing) const {
  Tensor logits = linear(cast(x, router->master().dtype()), router->value(), Tensor());  // (T, E) in f32
  routing = route(logits, groups, options, training, site);
  Tensor rows = dispatch(x, routing);                                                     // (R, C), sorted by expert
  Tensor hidden = gelu(grouped_linear(rows, up->value(x.dtype()), up_bias->value(), routing.expert_offsets), activation);
  return combine(grouped_linear(hidden, down->value(x.dtype()), down_bias->value(), routing.expert_offsets), routing);
}

}  // namespace pumice
