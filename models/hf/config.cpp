#include "pumice/models/hf/config.h"

#include <algorithm>
#include <cmath>

#include "pumice/models/hf/fields.h"

namespace pumice {
namespace {

RotaryScaling read_scaling(const Fields& f, int64_t positions) {
  using Kind = RotaryScaling::Kind;
  const std::string type = f.text("rope_type", f.text("type", "default"));
  if (type == "default") { return {}; }
  RotaryScaling s;
  s.kind = type == "linear" ? Kind::linear : type == "dynamic" ? Kind::dynamic : type == "llama3" ? Kind::llama3 : type == "yarn" ? Kind::yarn : Kind::none;
  REQUIRE(FormatError, s.kind != Kind::none, f.source(), ": scaling of type \"", type, "\" is not supported, only default, linear, dynamic, llama3 and yarn");
  s.factor = f.number("factor");
  s.trained = s.kind == Kind::llama3 ? f.integer("original_max_position_embeddings")
            : s.kind == Kind::yarn   ? f.integer("original_max_position_embeddings", positions) : positions;
  if (s.kind == Kind::llama3) {
    s.low_factor = f.number("low_freq_factor");
    s.high_factor = f.number("high_freq_factor");
  }
  if (s.kind != Kind::yarn) { return s; }
  s.beta_fast = f.number("beta_fast", s.beta_fast);
  s.beta_slow = f.number("beta_slow", s.beta_slow);
  s.truncate = f.boolean("truncate", true);
  const double m = f.number("mscale", 0), all = f.number("mscale_all_dim", 0);
  const auto grown = [&](double by) { return s.factor <= 1 ? 1 : 0.1 * by * std::log(s.factor) + 1; };
  s.attention = f.number("attention_factor", m != 0 && all != 0 ? grown(m) / grown(all) : 0);
  REQUIRE(FormatError, !f.has("attention_factor") || s.attention > 0, f.source(), ": \"attention_factor\" must be above 0, got ", s.attention);
  return s;
}

// Where rotary settings stand: the model's own fields, or since Transformers 5 "rope_parameters".
void read_rotary(const Fields& f, DecoderConfig& c, double default_share) {
  const std::optional<Fields> parameters = f.object("rope_parameters");
  const Fields& from = parameters ? *parameters : f;
  c.rotary_theta = from.number("rope_theta", f.number("rope_theta", c.rotary_theta));
  const double share = from.number("partial_rotary_factor", f.number("partial_rotary_factor", f.number("rope_pct", default_share)));
  REQUIRE(FormatError, share >= 0 && share <= 1, f.source(), ": the rotated share of a head must be in [0, 1], got ", share);
  c.rotary = int64_t(share * double(c.head_width));
  if (const std::optional<Fields> scaling = parameters ? parameters : f.object("rope_scaling")) { c.scaling = read_scaling(*scaling, c.positions); }
}

// A field that is left out has the value of Transformers' configuration class (4.57: configuration_llama.py, ...), which does not write what equals
// it: llava-1.5-7b-hf does not even say hidden_size.
struct Defaults {
  int64_t vocabulary, width, hidden, layers, heads, kv_heads, positions;  // 0: must be said, and of kv_heads: as many as heads
};
constexpr Defaults kLlamaDefaults{32000, 4096, 11008, 32, 32, 0, 2048};
constexpr Defaults kMistralDefaults{32000, 4096, 14336, 32, 32, 8, 131072};
constexpr Defaults kQwen2Defaults{151936, 4096, 22016, 32, 32, 32, 32768};
constexpr Defaults kStablelmDefaults{50304, 2560, 6912, 32, 32, 32, 4096};
constexpr Defaults kPhiDefaults{51200, 2048, 8192, 24, 32, 0, 2048};
constexpr Defaults kQwenDefaults{.positions = 8192};  // its class is not Transformers': sizes must be said

void read_kv_heads(const Fields& f, int64_t fallback, DecoderConfig& c) {
  const char* name = "num_key_value_heads";
  const bool assumed = !f.has(name) && !f.is_null(name) && fallback;  // null: as many as heads
  c.kv_heads = assumed ? fallback : f.integer(name, c.heads);
  REQUIRE(FormatError, !assumed || c.heads % fallback == 0, f.source(), ": \"", name, "\" is missing, and a ", c.family, " model without it has ",
          fallback, ", which must divide \"num_attention_heads\" ", c.heads);
}

void read_common(const Fields& f, const Defaults& d, DecoderConfig& c) {
  const auto size = [&](const char* name, int64_t fallback) { return fallback ? f.integer(name, fallback) : f.integer(name); };
  c.vocabulary = size("vocab_size", d.vocabulary);
  c.width = size("hidden_size", d.width);
  c.layers = size("num_hidden_layers", d.layers);
  c.heads = size("num_attention_heads", d.heads);
  REQUIRE(FormatError, c.heads > 0 && (f.has("head_dim") || c.width % c.heads == 0), f.source(), ": \"hidden_size\" ", c.width,
          " must be a multiple of \"num_attention_heads\" ", c.heads);
  read_kv_heads(f, d.kv_heads, c);
  c.head_width = f.integer("head_dim", c.width / c.heads);
  c.hidden = size("intermediate_size", d.hidden);
  c.positions = size("max_position_embeddings", d.positions);
  c.tied = f.boolean("tie_word_embeddings", false);
}

void read_llama_like(const Fields& f, const Defaults& d, DecoderConfig& c) {
  read_common(f, d, c);
  f.one_of("hidden_act", "silu", {"silu"});
  c.norm_eps = f.number("rms_norm_eps", 1e-6);
  f.only("mlp_bias", false);
  c.qkv_bias = c.out_bias = f.boolean("attention_bias", false);
  read_rotary(f, c, 1);
}
void read_llama(const Fields& f, DecoderConfig& c) { read_llama_like(f, kLlamaDefaults, c); }
void read_mistral(const Fields& f, DecoderConfig& c) {
  read_llama_like(f, kMistralDefaults, c);
  c.window = f.integer("sliding_window", f.is_null("sliding_window") ? 0 : 4096);
}
void read_qwen2(const Fields& f, DecoderConfig& c) {
  read_llama_like(f, kQwen2Defaults, c);
  c.qkv_bias = true;
  c.out_bias = false;
  if (f.boolean("use_sliding_window", false)) {
    c.window = f.integer("sliding_window", f.is_null("sliding_window") ? 0 : 4096);
    c.window_from = f.integer("max_window_layers", 28);
  }
}
void read_stablelm(const Fields& f, DecoderConfig& c) {
  read_common(f, kStablelmDefaults, c);
  f.one_of("hidden_act", "silu", {"silu"});
  f.only("use_parallel_residual", false);
  f.only("qk_layernorm", false);
  c.norm = NormKind::layer;
  c.norm_eps = f.number("layer_norm_eps", f.number("norm_eps", 1e-5));
  c.qkv_bias = f.boolean("use_qkv_bias", false);
  read_rotary(f, c, 0.25);
}
void read_phi(const Fields& f, DecoderConfig& c) {
  read_common(f, kPhiDefaults, c);
  f.one_of("hidden_act", "gelu_new", {"gelu_new", "gelu_pytorch_tanh"});
  f.only("qk_layernorm", false);
  c.norm = NormKind::layer;
  c.norm_eps = f.number("layer_norm_eps", 1e-5);
  c.mlp = MlpKind::gelu;
  c.parallel = c.qkv_bias = c.out_bias = c.mlp_bias = c.head_bias = true;
  read_rotary(f, c, 0.5);
}
void read_qwen(const Fields& f, DecoderConfig& c) {
  read_common(f, kQwenDefaults, c);
  REQUIRE(FormatError, c.hidden % 2 == 0, f.source(), ": \"intermediate_size\" of a Qwen model is twice the width of its MLP, got ", c.hidden);
  c.hidden /= 2;
  c.head_width = f.integer("kv_channels", c.head_width);
  c.positions = f.integer("seq_length", 8192);
  c.norm_eps = f.number("layer_norm_epsilon", 1e-6);
  c.rotary_theta = f.number("rotary_emb_base", 10000);
  const double share = f.number("rotary_pct", 1);
  REQUIRE(FormatError, share >= 0 && share <= 1, f.source(), ": \"rotary_pct\" must be in [0, 1], got ", share);
  c.rotary = int64_t(share * double(c.head_width));
  f.only("no_bias", true);
  c.fixed_positions = f.boolean("use_logn_attn", false) || f.boolean("use_dynamic_ntk", false);
  c.qkv_bias = true;
}

struct ModelType {
  const char* name;
  void (*read)(const Fields&, DecoderConfig&);
};
constexpr ModelType kModelTypes[] = {{"llama", read_llama}, {"mistral", read_mistral}, {"qwen2", read_qwen2}, {"qwen", read_qwen},
                                     {"stablelm", read_stablelm}, {"phi", read_phi}};

// The family of a model_type: "moe_llava_qwen1_5" is a qwen2.
std::string family_of(std::string type) {
  for (const char* prefix : {"moe_llava_", "llava_"}) {
    if (type.rfind(prefix, 0) == 0) { type.erase(0, std::string(prefix).size()); }
  }
  if (type == "qwen1_5") { return "qwen2"; }
  if (type == "stablelm_epoch") { return "stablelm"; }
  return type;
}

void read_moe(const Fields& moe, DecoderConfig& c) {
  if (!moe.boolean("moe_enable", true)) { return; }
  c.moe_layers = moe.has("moe_layers_idx") ? moe.integers("moe_layers_idx") : moe_layers_of(moe.text("moe_mode", "second_half"), c.layers);
  c.experts = moe.integers("num_experts");
  REQUIRE(FormatError, c.moe_layers.size() <= size_t(c.layers), moe.source(), ": there cannot be ", c.moe_layers.size(), " sparse layers of ", c.layers);
  if (c.experts.size() == 1) { c.experts.resize(c.moe_layers.size(), c.experts[0]); }
  REQUIRE(FormatError, c.experts.size() == c.moe_layers.size(), moe.source(), ": \"num_experts\" must name one number, or one for each of the ",
          c.moe_layers.size(), " sparse layers, got ", c.experts.size());
  const int64_t chosen = moe.integer("top_k_experts", 2);
  REQUIRE(FormatError, chosen >= 1 && chosen <= INT32_MAX, moe.source(),
          ": \"top_k_experts\" must be at least 1 and at most the number of experts, got ", chosen);
  c.router.experts_per_token = int(chosen);
  set_gate(c.router, "default");  // MoE-LLaVA's files do not say; these three fields are ours
  c.router.order = order_named(moe.text("order", name_of(c.router.order)));
  c.router.second = second_choice_named(moe.text("second_choice", name_of(c.router.second)));
  c.router.gates = gates_named(moe.text("gates", name_of(c.router.gates)));
  c.router.train.factor = moe.number("capacity_factor", 1);
  c.router.eval.factor = moe.number("eval_capacity_factor", 1);
  c.router.train.rounding = c.router.eval.rounding = Capacity::Rounding::ceil_f32;
  c.router.train.least = c.router.eval.least = moe.integer("min_capacity", 4);
  c.residual_moe = moe.boolean("use_residual", false);
  c.aux_weight = moe.number("router_aux_loss_coef", 0.01);
}

}  // namespace

std::vector<std::string> known_model_types() {
  std::vector<std::string> all;
  for (const ModelType& t : kModelTypes) { all.push_back(t.name); }
  return all;
}

DecoderConfig decoder_config_from_hf(const std::string& text, const std::string& source) {
  const nlohmann::json value = parse_hf_object(text, source);
  const Fields f(value, source);
  REQUIRE(FormatError, f.has("model_type"), source, ": \"model_type\" is required and missing: is this the config.json of a Hugging Face model?");
  const std::string type = f.text("model_type", "");
  DecoderConfig c;
  c.family = family_of(type);
  const auto* known = std::find_if(std::begin(kModelTypes), std::end(kModelTypes), [&](const ModelType& t) { return t.name == c.family; });
  REQUIRE(FormatError, known != std::end(kModelTypes), source, ": \"model_type\": \"", type, "\" is not known; known are ", join(known_model_types()),
          ", and each of them behind llava_ and moe_llava_.", did_you_mean(type, known_model_types()));
  known->read(f, c);
  if (c.family == "phi") { c.head_bias = f.boolean("lm_head_bias", type == c.family); }  // MoE-LLaVA makes Phi's head without its bias
  try {
    c.validate_sizes();
    if (const std::optional<Fields> moe = f.object("moe")) { read_moe(*moe, c); }
    c.validate();
  } catch (const UsageError& e) {
    throw FormatError(source + ": " + e.what());
  }
  return c;
}

}  // namespace pumice
