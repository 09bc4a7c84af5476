#include "pumice/nn/layers.h"

#include <cmath>

#include "pumice/ops/attention/attention.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/embedding/embedding.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/ops/matmul/mlp.h"
#include "pumice/ops/norm/layer_norm.h"
#include "pumice/ops/norm/rms_norm.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

// As in V-MoE and big_vision.
const Init kMlpBias = Init::normal(1e-6);

}  // namespace

Linear::Linear(const Scope& scope, int64_t in, int64_t out, const Init& init, bool with_bias, const Init& bias_init)
    : weight(scope.parameter("weight", {out, in}, init, true)),
      bias(with_bias ? scope.parameter("bias", {out}, bias_init, false) : nullptr) {}

Tensor Linear::operator()(const Tensor& x, const Tensor& residual) const {
  return linear(x, weight->value(x.dtype()), bias ? bias->value() : Tensor(), residual);
}

LayerNorm::LayerNorm(const Scope& scope, int64_t width, double eps)
    : weight(scope.parameter("weight", {width}, Init::ones(), false)), bias(scope.parameter("bias", {width}, Init::zeros(), false)), eps(eps) {}

Tensor LayerNorm::operator()(const Tensor& x) const { return layer_norm(x, weight->value(), bias->value(), eps); }

RmsNorm::RmsNorm(const Scope& scope, int64_t width, double eps) : weight(scope.parameter("weight", {width}, Init::ones(), false)), eps(eps) {}

Tensor RmsNorm::operator()(const Tensor& x) const { return rms_norm(x, weight->value(), eps); }

Embedding::Embedding(const Scope& scope, int64_t vocabulary, int64_t width, const Init& init)
    : table(scope.parameter("weight", {vocabulary, width}, init, true)) {}

Tensor Embedding::operator()(const Tensor& ids, DType dtype) const { return embedding(ids, table->value(dtype)); }

SelfAttention::SelfAttention(const Scope& scope, int64_t width, int64_t heads, bool causal)
    // three square matrices stacked: Xavier's fans are those of each one, not of the stack
    : qkv(scope / "qkv", width, 3 * width, Init::uniform(std::sqrt(6.0 / double(2 * width)))),
      out(scope / "out", width, width),
      heads(heads),
      causal(causal) {
  REQUIRE(ShapeError, heads > 0 && width % heads == 0, "[", scope.path(), "] width must be a multiple of heads, got ", width, " and ", heads);
}

Tensor SelfAttention::operator()(const Tensor& x, const Tensor& sequences, int64_t longest, const Tensor& residual) const {
  int64_t T = x.dim(0), C = x.dim(1);
  Tensor packed_qkv = reshape(qkv(x), {T, 3, heads, C / heads});
  return out(reshape(attention_qkv(packed_qkv, sequences, {.causal = causal, .longest = longest}), {T, C}), residual);
}

Mlp::Mlp(const Scope& scope, int64_t width, int64_t hidden, Gelu activation, const Init& init)
    : up(scope / "up", width, hidden, init, true, kMlpBias),
      down(scope / "down", hidden, width, init, true, kMlpBias),
      activation(activation) {}

Tensor Mlp::operator()(const Tensor& x, const Tensor& residual) const { 
  const auto bias_of = [](const Linear& l) { return l.bias ? l.bias->value() : Tensor(); };
  return mlp(x, up.weight->value(x.dtype()), bias_of(up), down.weight->value(x.dtype()), bias_of(down), activation, residual);
}

SwigluMlp::SwigluMlp(const Scope& scope, int64_t width, int64_t hidden, const Init& init)
    : gate(scope / "gate", width, hidden, init, false), up(scope / "up", width, hidden, init, false), down(scope / "down", hidden, width, init, false) {}

Tensor SwigluMlp::operator()(const Tensor& x, const Tensor& residual) const {
  const auto value_of = [&](const Linear& l) { return l.weight->value(x.dtype()); };
  return swiglu_mlp(x, value_of(gate), value_of(up), value_of(down), residual);
}

AttentionPool::AttentionPool(const Scope& scope, int64_t width, int64_t heads, int64_t hidden)
    : probe(scope.parameter("probe", {1, width}, Init::xavier_uniform(), false)),
      query(scope / "query", width, width),
      kv(scope / "kv", width, 2 * width, Init::uniform(std::sqrt(6.0 / double(2 * width)))),  // each square matrix by itself
      out(scope / "out", width, width),
      norm(scope / "norm", width),
      mlp(scope / "mlp", width, hidden),
      heads(heads) {
  REQUIRE(ShapeError, heads > 0 && width % heads == 0, "[", scope.path(), "] width must be a multiple of heads, got ", width, " and ", heads);
}

Tensor even_offsets(int64_t n, int64_t step) {
  std::vector<int32_t> offsets;
  for (int64_t i = 0; i <= n; ++i) { offsets.push_back(int32_t(i * step)); }
  return from_values<int32_t>({n + 1}, offsets);
}

Tensor AttentionPool::operator()(const Tensor& x, const Tensor& sequences, const Tensor& queries) const {
  const int64_t T = x.dim(0), C = x.dim(1), N = sequences.size() - 1, D = C / heads;
  Tensor q = expand(reshape(query(probe->value(x.dtype())), {1, heads, D}), {N, heads, D});
  Tensor both = reshape(kv(x), {T, 2, heads, D});
  Tensor k = reshape(slice(both, 1, 0, 1), {T, heads, D}), v = reshape(slice(both, 1, 1, 2), {T, heads, D});
  Tensor a = out(reshape(cross_attention(q, k, v, queries.defined() ? queries : even_offsets(N, 1), sequences), {N, C}));
  return mlp(norm(a), a);
}

}  // namespace pumice
