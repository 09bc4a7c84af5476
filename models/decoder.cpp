#include "pumice/models/decoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "pumice/ops/attention/attention.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/ops/embedding/rotary.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/loss/linear_cross_entropy.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/ops/reduce/softmax.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

const Init kWeights = Init::normal(0.02);

Tensor offsets_of(const std::vector<int32_t>& values) { return from_values<int32_t>({int64_t(values.size())}, values); }

}  // namespace

void require_sequences(const char* place, const std::vector<int32_t>& begin, int64_t T) {
  REQUIRE(ShapeError, !begin.empty() && begin.front() == 0 && begin.back() == T, place, " sequences must run from 0 to the ", T, " tokens");
  for (size_t n = 0; n + 1 < begin.size(); ++n) {
    REQUIRE(ShapeError, begin[n] <= begin[n + 1], place, " sequences must not fall, sequence ", n, " is [", begin[n], ", ", begin[n + 1], ")");
  }
}

Decoder::Norm::Norm(const Scope& scope, const DecoderConfig& config) {
  if (config.norm == NormKind::layer) { layer.emplace(scope, config.width, config.norm_eps); }
  else { rms.emplace(scope, config.width, config.norm_eps); }
}

Decoder::FeedForward::FeedForward(const Scope& scope, const DecoderConfig& config) {
  if (config.mlp == MlpKind::swiglu) { swiglu.emplace(scope, config.width, config.hidden, kWeights); }
  else { gelu.emplace(scope, config.width, config.hidden, Gelu::tanh, kWeights); }
}

Decoder::Decoder(const DecoderConfig& config, uint64_t seed, DType master, Device device)
    : Decoder(config, std::make_shared<ParameterStore>(seed, master, device)) {
  store_->pack();
}

Decoder Decoder::unfilled(const DecoderConfig& config) { return Decoder(config, std::shared_ptr<ParameterStore>(ParameterStore::make_unfilled())); }

Decoder::Decoder(const DecoderConfig& config, std::shared_ptr<ParameterStore> store) : config_(config), store_(std::move(store)) {
  const DecoderConfig& c = config_;
  c.validate();
  const Scope root(*store_);
  const int64_t q = c.heads * c.head_width, kv = c.kv_heads * c.head_width;
  embedding_ = Embedding(root / "embedding", c.vocabulary, c.width, kWeights);
  for (int64_t i = 0; i < c.layers; ++i) {
    const Scope scope = root / "layers" / std::to_string(i), attention = scope / "attention";
    Layer l;
    l.index = i;
    l.window = i >= c.window_from ? c.window : 0;
    l.norm1 = Norm(scope / "norm1", c);
    l.q = Linear(attention / "q", c.width, q, kWeights, c.qkv_bias);
    l.k = Linear(attention / "k", c.width, kv, kWeights, c.qkv_bias);
    l.v = Linear(attention / "v", c.width, kv, kWeights, c.qkv_bias);
    l.out = Linear(attention / "out", q, c.width, kWeights, c.out_bias);
    if (!c.parallel) { l.norm2 = Norm(scope / "norm2", c); }
    const int64_t experts = c.experts_of(i);
    l.sparse = experts > 0;
    if (!l.sparse || c.residual_moe) { l.mlp = FeedForward(scope / "mlp", c); }
    if (l.sparse) {
      RouterOptions options = c.router;
      options.experts = int(experts);
      l.moe = MoeMlp(scope / "moe", c.width, c.hidden, options, false, c.mlp == MlpKind::swiglu ? MoeMlp::Expert::swiglu : MoeMlp::Expert::gelu);
      if (c.residual_moe) { l.coefficient = Linear(scope / "moe" / "coefficient", c.width, 2, kWeights); }
    }
    layers_.push_back(std::move(l));
  }
  norm_ = Norm(root / "norm", c);
  if (!c.tied) { head_ = Linear(root / "head", c.width, c.vocabulary, kWeights, c.head_bias); }
}

Decoder::Pass Decoder::pass_of(const DecoderInput& input, const DecoderRun& run) const {
  const Tensor& given = input.ids.defined() ? input.ids : input.embeddings;
  REQUIRE(ShapeError, input.ids.defined() != input.embeddings.defined() && input.sequences.defined(),
          "[decoder] ids or embeddings are required, not both, and where their sequences begin");
  const int64_t T = given.dim(0);
  const std::vector<int32_t> begin = input.sequences.to_vector<int32_t>();
  const int64_t N = int64_t(begin.size()) - 1;
  require_sequences("[decoder]", begin, T);
  REQUIRE(ShapeError, !run.cache || run.cache->sequences() == N, "[decoder] the cache holds ", run.cache ? run.cache->sequences() : 0,
          " sequences, the input ", N);
  REQUIRE(ShapeError, !run.cache || run.cache->fits(config_), "[decoder] the cache was made for a model of other sizes");
  Pass p{.sequences = input.sequences, .run = run};
  std::vector<int32_t> positions;
  std::vector<int64_t> lengths, groups = {0};
  for (int64_t n = 0; n < N; ++n) {
    const int64_t before = run.cache ? run.cache->length(n) : 0, count = begin[n + 1] - begin[n];
    for (int64_t i = 0; i < count; ++i) { positions.push_back(int32_t(before + i)); }
    lengths.push_back(before + count);
    if (count > 0) { groups.push_back(begin[n + 1]); }  // a group has tokens
    REQUIRE(UsageError, !config_.fixed_positions || lengths.back() <= config_.positions, "[decoder] this model computes at most ", config_.positions,
            " tokens here, sequence ", n, " has ", lengths.back(),
            ": beyond them its config.json asks for log-n attention or Qwen-1's dynamic NTK, which this decoder does not have. Shorten the text");
    if (run.cache) { run.cache->reserve(n, count); }
  }
  const Device device = store_->device();
  p.positions = to_device(offsets_of(positions), device);
  const int64_t longest = lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
  const bool own = run.cache && config_.scaling.depends_on(longest);
  if (!own) { lengths = {longest}; }
  const auto frequencies = [&](int64_t length) { return scaled_frequencies(config_.rotary, config_.rotary_theta, config_.scaling, length); };
  for (int64_t length : lengths) {
    p.frequencies.push_back(to_device(from_values<float>({config_.rotary / 2}, frequencies(length)), device));
  }
  if (!config_.moe_layers.empty()) {
    if (!run.cache && T > 0) { groups = {0, T}; }
    p.groups.offsets = groups;
    p.groups.modality = input.modality.defined() ? input.modality : full({T}, double(Modality::text), DType::u8, device);
  }
  return p;
}

Tensor Decoder::rotate(const Tensor& x, const Pass& p) const {
  const double scale = config_.scaling.scale();
  if (p.frequencies.size() == 1) { return rotary(x, p.positions, p.frequencies[0], scale); }
  const std::vector<int32_t> begin = p.sequences.to_vector<int32_t>();
  std::vector<Tensor> parts;
  for (size_t n = 0; n + 1 < begin.size(); ++n) {
    parts.push_back(rotary(slice(x, 0, begin[n], begin[n + 1]), slice(p.positions, 0, begin[n], begin[n + 1]), p.frequencies[n], scale));
  }
  return concat(parts, 0);
}

Tensor Decoder::attend(const Layer& l, const Tensor& x, const Tensor& residual, const Pass& p) const {
  const int64_t T = x.dim(0), D = config_.head_width;
  const AttentionOptions options{.causal = true, .window = l.window};
  Tensor q = rotate(reshape(l.q(x), {T, config_.heads, D}), p);
  Tensor k = rotate(reshape(l.k(x), {T, config_.kv_heads, D}), p);
  Tensor v = reshape(l.v(x), {T, config_.kv_heads, D});
  if (!p.run.cache) { return l.out(reshape(attention(q, k, v, p.sequences, options), {T, config_.heads * D}), residual); }

  const std::vector<int32_t> begin = p.sequences.to_vector<int32_t>();
  std::vector<Tensor> parts;
  for (size_t n = 0; n + 1 < begin.size(); ++n) {
    if (begin[n] == begin[n + 1]) { continue; }
    const auto own = [&](const Tensor& t) { return slice(t, 0, begin[n], begin[n + 1]); };
    const KvCache::Seen seen = p.run.cache->append(l.index, int64_t(n), own(k), own(v));
    parts.push_back(cross_attention(own(q), seen.k, seen.v, offsets_of({0, begin[n + 1] - begin[n]}), offsets_of({0, int32_t(seen.k.dim(0))}), options));
  }
  return l.out(reshape(parts.size() == 1 ? parts[0] : concat(parts, 0), {T, config_.heads * D}), residual);
}

Tensor Decoder::feed_forward(const Layer& l, const Tensor& x, const Tensor& residual, const Pass& p, Tensor& aux) const {
  if (!l.sparse) { return l.mlp(x, residual); }
  Routing routing;
  Tensor y = l.moe(x, p.groups, p.run.training, routing);
  if (p.run.routings) { p.run.routings->push_back(routing); }
  if (p.run.training) { aux = auxiliary_losses(routing, {.weight = config_.aux_weight, .losses = {AuxLoss::balance}}).total; }
  if (!config_.residual_moe) { return add(residual, y); }
  Tensor c = softmax(l.coefficient(x));  // (T, 2)
  return add(residual, add(mul(y, slice(c, 1, 0, 1)), mul(l.mlp(x), slice(c, 1, 1, 2))));
}

// Returns {x, auxiliary loss}, or {x} alone where there is none.
std::vector<Tensor> Decoder::run_layer(const Layer& l, const Tensor& x, const Pass& p) const {
  Tensor aux, y, h = l.norm1(x);
  if (config_.parallel) {
    y = feed_forward(l, h, attend(l, h, x, p), p, aux);
  } else {
    y = attend(l, h, x, p);
    y = feed_forward(l, l.norm2(y), y, p, aux);
  }
  return aux.defined() ? std::vector{y, aux} : std::vector{y};
}

DecoderOutput Decoder::forward(const DecoderInput& input, const DecoderRun& run) const {
  REQUIRE(UsageError, !run.cache || !grad_enabled(), "[decoder] a cache is for use without a graph: put the call under NoGrad");
  const Pass p = pass_of(input, run);
  Tensor x = input.ids.defined() ? embed(input.ids, run.dtype) : input.embeddings;
  REQUIRE(ShapeError, x.rank() == 2 && x.dim(1) == config_.width, "[decoder] embeddings must be (T, ", config_.width, "), got ", x.shape());
  DecoderOutput out;
  for (const Layer& layer : layers_) {
    std::vector<Tensor> y;
    if (run.recompute) {
      // Routings are reported by the first run only: when the backward pass runs the layer again, their vector may be gone.
      const auto pending = std::make_shared<std::vector<Routing>*>(run.routings);
      y = checkpoint([this, &layer, p, pending](std::span<const Tensor> in) {
        Pass pass = p;
        pass.run.routings = std::exchange(*pending, nullptr);
        return run_layer(layer, in[0], pass);
      }, {x});
    } else {
      y = run_layer(layer, x, p);
    }
    x = y[0];
    if (y.size() > 1) { out.aux = out.aux.defined() ? add(out.aux, y[1]) : y[1]; }
  }
  if (run.cache) {
    const std::vector<int32_t> begin = p.sequences.to_vector<int32_t>();
    for (size_t n = 0; n + 1 < begin.size(); ++n) { run.cache->advance(int64_t(n), begin[n + 1] - begin[n]); }
  }
  out.hidden = norm_(x);
  return out;
}

Tensor Decoder::logits(const Tensor& hidden) const {
  return head_.weight ? head_(hidden) : linear(hidden, embedding_.table->value(hidden.dtype()), Tensor());
}

Tensor Decoder::loss(const Tensor& hidden, const Tensor& labels, const Tensor& sequences) const {
  REQUIRE(ShapeError, hidden.rank() == 2 && labels.shape() == Shape{hidden.dim(0)}, "[decoder] labels must be (T) for hidden (T, C), got ", labels.shape(),
          " and ", hidden.shape());
  const std::vector<int32_t> label = labels.to_vector<int32_t>(), begin = sequences.to_vector<int32_t>();
  require_sequences("[decoder]", begin, hidden.dim(0));
  std::vector<int32_t> next(label.size(), -100);
  for (size_t n = 0; n + 1 < begin.size(); ++n) {
    for (int32_t t = begin[n]; t + 1 < begin[n + 1]; ++t) { next[t] = label[t + 1]; }
  }
  Tensor w = (head_.weight ? head_.weight : embedding_.table)->value(hidden.dtype());
  return linear_cross_entropy(hidden, w, head_.bias ? head_.bias->value() : Tensor(), offsets_of(next));
}

}  // namespace pumice
