#include "pumice/models/decoder_config.h"

#include <algorithm>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {

int64_t DecoderConfig::experts_of(int64_t layer) const {
  const auto at = std::find(moe_layers.begin(), moe_layers.end(), layer);
  return at == moe_layers.end() ? 0 : experts.at(size_t(at - moe_layers.begin()));
}

bool DecoderConfig::reads_in_pieces(int64_t length) const {
  if (scaling.depends_on(length)) { return false; }
  if (!moe_layers.empty() && router.second == SecondChoice::gumbel_always) { return false; }  // drawn by place in the group
  const Capacity& c = router.eval;
  return c.factor == 0 || length <= c.least || std::all_of(experts.begin(), experts.end(), [&](int64_t e) {
    return double(router.experts_per_token) * c.factor >= double(e);  // no token chooses an expert twice: there are places for all
  });
}

namespace {

// Far beyond every model there is, and small enough that products of sizes fit an int64 and lists of layers and experts
// fit in memory: a config.json may come from anybody.
constexpr int64_t kMostLayers = 1024, kMostExperts = 4096, kLargestSize = 1 << 24;
constexpr int64_t kMostPositions = int64_t(1) << 31;

}  // namespace

void DecoderConfig::validate_sizes() const {
  const auto within = [](const char* name, int64_t v, int64_t most) {
    REQUIRE(UsageError, v > 0 && v <= most, "[decoder] ", name, " must be ", v > 0 ? concat_text("at most ", most) : "at least 1", ", got ", v);
  };
  within("vocabulary", vocabulary, kLargestSize);
  within("width", width, kLargestSize);
  within("layers", layers, kMostLayers);
  within("hidden", hidden, kLargestSize);
  within("heads", heads, kLargestSize);
  within("kv_heads", kv_heads, kLargestSize);
  within("head_width", head_width, kLargestSize);
  within("positions", positions, kMostPositions);
}

void DecoderConfig::validate() const {
  validate_sizes();
  REQUIRE(UsageError, heads % kv_heads == 0, "[decoder] heads must be a multiple of kv_heads, got ", heads, " and ", kv_heads);
  REQUIRE(UsageError, rotary >= 0 && rotary % 2 == 0 && rotary <= head_width, "[decoder] rotary must be even and at most head_width = ", head_width,
          ", got ", rotary);
  REQUIRE(UsageError, rotary_theta > 0 && norm_eps > 0 && window >= 0, "[decoder] rotary_theta and norm_eps must be above 0, and window at least 0, got ",
          rotary_theta, ", ", norm_eps, " and ", window);
  scaling.validate();
  REQUIRE(UsageError, scaling.kind != RotaryScaling::Kind::yarn || rotary_theta > 1, "[decoder] yarn needs a rotary_theta above 1, got ", rotary_theta);
  REQUIRE(UsageError, !(tied && head_bias), "[decoder] a head that is the embedding has no bias");
  REQUIRE(UsageError, moe_layers.size() == experts.size(), "[decoder] each of the ", moe_layers.size(), " sparse layers needs its number of experts, got ",
          experts.size(), " numbers");
  double mlps = double(layers);
  for (int64_t e : experts) { mlps += double(e); }
  const double parameters = 3.0 * double(width) * double(hidden) * mlps + 4.0 * double(layers) * double(width) * double(heads * head_width) +
                            2.0 * double(vocabulary) * double(width);
  REQUIRE(UsageError, parameters < 1e15, "[decoder] these sizes make ", parameters, " parameters, beyond 1e15: is a number wrong?");
  for (size_t i = 0; i < moe_layers.size(); ++i) {
    REQUIRE(UsageError, moe_layers[i] >= (i ? moe_layers[i - 1] + 1 : 0) && moe_layers[i] < layers,
            "[decoder] sparse layers must rise and lie in [0, ", layers, "), got ", moe_layers[i], " as number ", i);
    REQUIRE(UsageError, experts[i] >= 1 && experts[i] <= kMostExperts, "[decoder] a sparse layer has 1 to ", kMostExperts, " experts, got ", experts[i],
            " in layer ", moe_layers[i]);
    RouterOptions options = router;
    options.experts = int(experts[i]);
    require_valid(options);
    capacity_of(1, options.experts, options.experts_per_token, options.train);
    capacity_of(1, options.experts, options.experts_per_token, options.eval);
  }
}

DecoderCost cost_of(const DecoderConfig& c) {
  const int64_t norm = c.width * (c.norm == NormKind::layer ? 2 : 1), q = c.heads * c.head_width, kv = c.kv_heads * c.head_width;
  const int64_t attention = c.width * (2 * q + 2 * kv) + (c.qkv_bias ? q + 2 * kv : 0) + (c.out_bias ? c.width : 0);
  const int64_t mlp = (c.mlp == MlpKind::swiglu ? 3 : 2) * c.width * c.hidden + (c.mlp_bias ? c.hidden + c.width : 0);
  DecoderCost cost;
  const int64_t ends = c.vocabulary * c.width * (c.tied ? 1 : 2) + (c.head_bias ? c.vocabulary : 0) + norm;
  const int64_t rest = ends + c.layers * (attention + (c.parallel ? 1 : 2) * norm);
  cost.parameters = cost.active_parameters = rest;
  for (int64_t i = 0; i < c.layers; ++i) {
    const int64_t E = c.experts_of(i), K = c.router.experts_per_token;
    const int64_t always = E ? E * c.width + (c.residual_moe ? mlp + 2 * c.width + 2 : 0) : 0;
    cost.parameters += E ? E * mlp + always : mlp;
    cost.active_parameters += E ? K * mlp + always : mlp;
  }
  return cost;
}

std::vector<int64_t> moe_layers_of(const std::string& mode, int64_t layers) {
  int64_t begin = 0, end = layers, step = 1;
  if (mode == "first_half") { end = layers / 2; }
  else if (mode == "second_half") { begin = layers / 2; }
  else if (mode == "sparse") { step = 2; }
  else {
    REQUIRE(UsageError, mode == "dense", "[decoder] moe_mode must be first_half, second_half, sparse or dense, got '", mode, "'",
            did_you_mean(mode, {"first_half", "second_half", "sparse", "dense"}));
  }
  std::vector<int64_t> all;
  for (int64_t i = begin; i < end; i += step) { all.push_back(i); }
  return all;
}

}  // namespace pumice
