#include "pumice/models/hf/weights.h"

#include "pumice/models/hf/config.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/weight_files.h"

namespace pumice {
namespace {

// One line of a family's table: our name and theirs, up to ".weight" or ".bias". {i} is the layer.
struct Rule {
  const char *ours, *theirs;
  int part = 0, parts = 1;
};

const std::vector<Rule> kLlama = {
    {"embedding", "model.embed_tokens"},
    {"layers.{i}.norm1", "model.layers.{i}.input_layernorm"},
    {"layers.{i}.norm2", "model.layers.{i}.post_attention_layernorm"},
    {"layers.{i}.attention.q", "model.layers.{i}.self_attn.q_proj"},
    {"layers.{i}.attention.k", "model.layers.{i}.self_attn.k_proj"},
    {"layers.{i}.attention.v", "model.layers.{i}.self_attn.v_proj"},
    {"layers.{i}.attention.out", "model.layers.{i}.self_attn.o_proj"},
    {"layers.{i}.mlp.gate", "model.layers.{i}.mlp.gate_proj"},
    {"layers.{i}.mlp.up", "model.layers.{i}.mlp.up_proj"},
    {"layers.{i}.mlp.down", "model.layers.{i}.mlp.down_proj"},
    {"norm", "model.norm"},
    {"head", "lm_head"},
};
const std::vector<Rule> kPhi = {
    {"embedding", "model.embed_tokens"},
    {"layers.{i}.norm1", "model.layers.{i}.input_layernorm"},
    {"layers.{i}.attention.q", "model.layers.{i}.self_attn.q_proj"},
    {"layers.{i}.attention.k", "model.layers.{i}.self_attn.k_proj"},
    {"layers.{i}.attention.v", "model.layers.{i}.self_attn.v_proj"},
    {"layers.{i}.attention.out", "model.layers.{i}.self_attn.dense"},
    {"layers.{i}.mlp.up", "model.layers.{i}.mlp.fc1"},
    {"layers.{i}.mlp.down", "model.layers.{i}.mlp.fc2"},
    {"norm", "model.final_layernorm"},
    {"head", "lm_head"},
};
const std::vector<Rule> kQwen = {
    {"embedding", "transformer.wte"},
    {"layers.{i}.norm1", "transformer.h.{i}.ln_1"},
    {"layers.{i}.norm2", "transformer.h.{i}.ln_2"},
    {"layers.{i}.attention.q", "transformer.h.{i}.attn.c_attn", 0, 3},
    {"layers.{i}.attention.k", "transformer.h.{i}.attn.c_attn", 1, 3},
    {"layers.{i}.attention.v", "transformer.h.{i}.attn.c_attn", 2, 3},
    {"layers.{i}.attention.out", "transformer.h.{i}.attn.c_proj"},
    {"layers.{i}.mlp.up", "transformer.h.{i}.mlp.w1"},
    {"layers.{i}.mlp.gate", "transformer.h.{i}.mlp.w2"},
    {"layers.{i}.mlp.down", "transformer.h.{i}.mlp.c_proj"},
    {"norm", "transformer.ln_f"},
    {"head", "lm_head"},
};
const std::vector<Rule>& rules_of(const std::string& family) { return family == "phi" ? kPhi : family == "qwen" ? kQwen : kLlama; }

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const size_t at = text.find(what);
  return at == std::string::npos ? text : text.replace(at, what.size(), by);
}

struct Found {
  const Rule* rule = nullptr;
  std::string theirs;
};
Found find_rule(const std::string& family, const std::string& stem, int64_t layer) {
  const std::string i = std::to_string(layer);
  for (const Rule& r : rules_of(family)) {
    if (replaced(r.ours, "{i}", i) == stem) { return {&r, replaced(r.theirs, "{i}", i)}; }
  }
  return {};
}

// "layers.3.moe.experts.up.weight" is what "layers.3.mlp.up.weight" is in a dense layer, once per expert in DeepSpeed's folder of it.
std::vector<HfTensor> moe_tensors(const DecoderConfig& c, const std::string& stem, const std::string& kind, int64_t layer) {
  const std::string scope = "layers." + std::to_string(layer) + ".", experts = scope + "moe.experts.", down = find_rule(c.family, scope + "mlp.down", layer).theirs;
  const std::string mlp = down.substr(0, down.rfind('.'));  // "model.layers.3.mlp"
  if (stem == scope + "moe.router") { return {{mlp + ".deepspeed_moe.gate.wg." + kind}}; }
  if (stem == scope + "moe.coefficient") { return {{mlp + ".coefficient." + kind}}; }
  if (stem.rfind(scope + "mlp.", 0) == 0) {  // the dense MLP beside the experts
    const Found f = find_rule(c.family, stem, layer);
    return f.rule ? std::vector<HfTensor>{{mlp + ".mlp" + f.theirs.substr(mlp.size()) + "." + kind}} : std::vector<HfTensor>{};
  }
  if (stem.rfind(experts, 0) != 0) { return {}; }
  const Found f = find_rule(c.family, scope + "mlp." + stem.substr(experts.size()), layer);
  std::vector<HfTensor> all;
  for (int64_t e = 0; f.rule && e < c.experts_of(layer); ++e) {
    all.push_back({.name = mlp + ".deepspeed_moe.experts.deepspeed_experts." + std::to_string(e) + f.theirs.substr(mlp.size()) + "." + kind, .slice = true});
  }
  return all;
}

int64_t layer_of(const std::string& name) { return name.rfind("layers.", 0) == 0 ? std::stoll(name.substr(7)) : -1; }

}  // namespace

std::vector<HfTensor> hf_tensors_of(const DecoderConfig& c, const std::string& parameter) {
  const size_t dot = parameter.rfind('.');
  const std::string stem = parameter.substr(0, dot), kind = parameter.substr(dot + 1);
  const int64_t layer = layer_of(parameter);
  const bool of_moe = layer >= 0 && c.experts_of(layer) > 0 && (stem.find(".moe.") != std::string::npos || stem.find(".mlp.") != std::string::npos);
  std::vector<HfTensor> all;
  if (of_moe) {
    all = moe_tensors(c, stem, kind, layer);
  } else if (const Found f = find_rule(c.family, stem, layer); f.rule) {
    all = {{f.theirs + "." + kind, f.rule->part, f.rule->parts}};
  }
  REQUIRE(UsageError, !all.empty(), "[hf] a ", c.family, " model has no parameter '", parameter, "'");
  return all;
}

namespace {

bool ignored(const DecoderConfig& config, const std::string& tensor) { return config.tied && tensor == "lm_head.weight"; }

void bind(Decoder& model, const std::string& directory) {
  bind_weights(model.parameters(), WeightFiles::open(directory),
               [&](const std::string& name) { return hf_tensors_of(model.config(), name); },
               [&](const std::string& tensor) { return ignored(model.config(), tensor); }, directory);
}

}  // namespace

Decoder open_decoder(const std::string& directory) {
  const std::string config = directory + "/config.json";
  Decoder model = Decoder::unfilled(decoder_config_from_hf(read_file(config), config));
  bind(model, directory);
  return model;
}

Decoder load_decoder(const std::string& directory, Device device) {
  const std::string config = directory + "/config.json";
  Decoder model(decoder_config_from_hf(read_file(config), config), 0, DType::f32, device);
  bind(model, directory);
  return model;
}

}  // namespace pumice
