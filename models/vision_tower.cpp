#include "pumice/models/vision_tower.h"

#include "pumice/ops/attention/attention.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/matmul/linear.h"

namespace pumice {
namespace {

const Init kWeights = Init::normal(0.02);

}  // namespace

VisionTower::VisionTower(const Scope& scope, const VisionConfig& config) : ImageTower(config) {
  const VisionConfig& c = config_;
  patches_ = scope.parameter("patches.weight", {c.width, 3, c.patch, c.patch}, kWeights, true);
  if (c.patch_bias) { patch_bias_ = scope.parameter("patches.bias", {c.width}, Init::zeros(), false); }
  if (c.class_token) { class_token_ = scope.parameter("class_token", {c.width}, kWeights, false); }
  positions_ = scope.parameter("positions.weight", {c.tokens(), c.width}, kWeights, false);
  if (c.first_norm) { first_norm_ = LayerNorm(scope / "first_norm", c.width, c.norm_eps); }
  for (int64_t i = 0; i < c.layers; ++i) {
    const Scope at = scope / "layers" / std::to_string(i), attention = at / "attention";
    Layer l;
    l.norm1 = LayerNorm(at / "norm1", c.width, c.norm_eps);
    l.q = Linear(attention / "q", c.width, c.width, kWeights);
    l.k = Linear(attention / "k", c.width, c.width, kWeights);
    l.v = Linear(attention / "v", c.width, c.width, kWeights);
    l.out = Linear(attention / "out", c.width, c.width, kWeights);
    l.norm2 = LayerNorm(at / "norm2", c.width, c.norm_eps);
    l.mlp = Mlp(at / "mlp", c.width, c.hidden, c.activation, kWeights);
    layers_.push_back(l);
  }
  last_norm_ = LayerNorm(scope / "norm", c.width, c.norm_eps);
}

Tensor VisionTower::operator()(const Tensor& pixels, DType dtype, int64_t after) const {
  const VisionConfig& c = config_;
  const int64_t P = c.patch, g = c.image_size / P, C = c.width, T = c.tokens(), last = layers_until(after, pixels), B = pixels.dim(0);
  // a convolution whose step is its size is a linear map of patches (channel, y, x); what is left over at the right and the bottom is not seen
  Tensor inside = slice(slice(cast(pixels, dtype), 2, 0, g * P), 3, 0, g * P);
  Tensor patches = reshape(permute(reshape(inside, {B, 3, g, P, g, P}), {0, 2, 4, 1, 3, 5}), {B, g * g, 3 * P * P});
  Tensor x = linear(patches, reshape(patches_->value(dtype), {C, 3 * P * P}), patch_bias_ ? patch_bias_->value() : Tensor());
  if (class_token_) { x = concat({expand(reshape(class_token_->value(dtype), {1, 1, C}), {B, 1, C}), x}, 1); }
  x = reshape(add(x, positions_->value(dtype)), {B * T, C});
  if (c.first_norm) { x = first_norm_(x); }

  std::vector<int32_t> begin;
  for (int64_t b = 0; b <= B; ++b) { begin.push_back(int32_t(b * T)); }
  const Tensor sequences = from_values<int32_t>({B + 1}, begin);
  for (int64_t i = 0; i < last; ++i) {
    const Layer& l = layers_[size_t(i)];
    const auto heads = [&](const Tensor& t) { return reshape(t, {B * T, c.heads, C / c.heads}); };
    Tensor h = l.norm1(x);
    x = l.out(reshape(attention(heads(l.q(h)), heads(l.k(h)), heads(l.v(h)), sequences, {.longest = T}), {B * T, C}), x);
    x = l.mlp(l.norm2(x), x);
  }
  return reshape(x, {B, T, C});
}

}  // namespace pumice
