#include "pumice/nn/layers.h"

#include <cmath>

#include "pumice/ops/attention/attention.h"
#include "pumice/ops/embedding/embedding.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/ops/norm/layer_norm.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

// As in V-MoE and big_vision.
const Init kMlpBias = Init::normal(1e-6);

}  // namespace

Linear::Linear(const Scope& scope, int64_t in, int64_t out, const Init& init, bool with_bias, const Init& bias_init)
    : weight(scope.parameter("weight", {out, in}, init, true)),
      bias(with_bias ? scope.parameter("bias", {out}, bias_init, false) : nullptr) {}

Tensor Linear::operator()(const Tensor& x) const {
  return linear(x, weight->value(x.dtype()), bias ? bias->value() : Tensor());
}

LayerNorm::LayerNorm(const Scope& scope, int64_t width, double eps)
    : weight(scope.parameter("weight", {width}, Init::ones(), false)), bias(scope.parameter("bias", {width}, Init::zeros(), false)), eps(eps) {}

Tensor LayerNorm::operator()(const Tensor& x) const { return layer_norm(x, weight->value(), bias->value(), eps); }

Embedding::Embedding(const Scope& scope, int64_t vocabulary, int64_t width, const Init& init)
    : table(scope.parameter("weight", {vocabulary, width}, init, true)) {}

Tensor Embedding::operator()(const Tensor& ids, DType dtype) const { return embedding(ids, table->value(dtype)); }

SelfAttention::SelfAttention(const Scope& scope, int64_t width, int64_t heads)
    // three square matrices stacked: Xavier's fans are those of each one, not of the stack
    : qkv(scope / "qkv", width, 3 * width, Init::uniform(std::sqrt(6.0 / double(2 * width)))),
      out(scope / "out", width, width),
      heads(heads) {
  REQUIRE(ShapeError, heads > 0 && width % heads == 0, "[", scope.path(), "] width must be a multiple of heads, got ", width, " and ", heads);
}

Tensor SelfAttention::operator()(const Tensor& x, const Tensor& sequences) const {
  int64_t T = x.dim(0), C = x.dim(1);
  Tensor packed_qkv = reshape(qkv(x), {T, 3, heads, C / heads});
  return out(reshape(attention_qkv(packed_qkv, sequences, {}), {T, C}));
}

Mlp::Mlp(const Scope& scope, int64_t width, int64_t hidden, Gelu activation)
    : up(scope / "up", width, hidden, Init::xavier_uniform(), true, kMlpBias),
      down(scope / "down", hidden, width, Init::xavier_uniform(), true, kMlpBias),
      activation(activation) {}

Tensor Mlp::operator()(const Tensor& x) const { return down(gelu(up(x), activation)); }

}  // namespace pumice
