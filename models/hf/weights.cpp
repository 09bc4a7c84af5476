#include "pumice/models/hf/weights.h"

#include <algorithm>
#include <map>
#include <set>

#include "pumice/models/hf/config.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/tensor/suggest.h"

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
    const std::string folder = (c.residual_moe ? mlp + ".moe" : mlp) + ".deepspeed_moe.experts.deepspeed_experts.";
    all.push_back({folder + std::to_string(e) + f.theirs.substr(mlp.size()) + "." + kind});
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

// Tensors that other programs leave in a file and that hold nothing to read: tables of rotary embeddings and masks.
bool is_buffer(const std::string& name) {
  for (const char* end : {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".position_ids"}) {
    const std::string tail = end;
    if (name.size() >= tail.size() && name.compare(name.size() - tail.size(), tail.size(), tail) == 0) { return true; }
  }
  return false;
}

std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  std::vector<std::string> first(names.begin(), names.begin() + std::min(names.size(), kShown));
  return join(first) + (names.size() > kShown ? " and " + std::to_string(names.size() - kShown) + " more" : "");
}

// The tensor, or the rows of it, that `t` names.
Tensor load(const SafetensorsFile& file, const HfTensor& t) {
  Tensor whole = file.load(t.name);
  if (t.parts == 1) { return whole; }
  const int64_t rows = whole.dim(0) / t.parts;
  return whole.slice(0, t.part * rows, (t.part + 1) * rows);
}

Shape wanted_shape(const Parameter& p, const std::vector<HfTensor>& sources) {
  Shape s = sources.size() > 1 || (p.shape().rank() == 3) ? Shape(p.shape().begin() + 1, p.shape().rank() - 1) : p.shape();
  s[0] *= sources[0].parts;
  return s;
}

// Throws FormatError listing every tensor that is missing, misshapen or unexpected.
void require_fit(const ParameterStore& parameters, const DecoderConfig& config, const SafetensorsFile& file, const std::string& directory) {
  std::set<std::string> unused;
  for (const std::string& name : file.names()) { unused.insert(name); }
  std::vector<std::string> missing, misshapen;
  const std::set<std::string> present = unused;
  for (const auto& p : parameters.all()) {
    const std::vector<HfTensor> sources = hf_tensors_of(config, p->name());
    for (const HfTensor& t : sources) {
      if (!present.count(t.name)) {
        missing.push_back(t.name);
        continue;
      }
      unused.erase(t.name);
      const Shape want = wanted_shape(*p, sources);
      if (file.shape(t.name) != want) { misshapen.push_back(concat_text(t.name, " ", file.shape(t.name), " instead of ", want)); }
    }
  }
  std::vector<std::string> unexpected;
  for (const std::string& name : unused) {
    const bool tied = config.tied && name == "lm_head.weight";
    if (!is_buffer(name) && !tied) { unexpected.push_back(name); }
  }
  const auto part = [](const char* what, const std::vector<std::string>& names) { return names.empty() ? "" : concat_text("; ", names.size(), what, listed(names)); };
  REQUIRE(FormatError, missing.empty() && misshapen.empty() && unexpected.empty(), directory, ": the weights do not fit config.json",
          part(" missing: ", missing), part(" misshapen: ", misshapen), part(" unexpected: ", unexpected));
}

std::string config_path(const std::string& directory) { return directory + "/config.json"; }

}  // namespace

Decoder open_decoder(const std::string& directory) {
  Decoder model = Decoder::unfilled(decoder_config_from_hf(read_file(config_path(directory)), config_path(directory)));
  const SafetensorsFile file = SafetensorsFile::open(directory + "/model.safetensors");
  require_fit(model.parameters(), model.config(), file, directory);
  for (const auto& p : model.parameters().all()) {
    const std::vector<HfTensor> sources = hf_tensors_of(model.config(), p->name());
    if (sources.size() == 1 && p->shape().rank() < 3) {
      p->bind(load(file, sources[0]));
      continue;
    }
    std::vector<Tensor> slices;
    for (const HfTensor& t : sources) { slices.push_back(load(file, t)); }
    p->bind_slices(std::move(slices));
  }
  return model;
}

void read_decoder_weights(Decoder& model, const std::string& directory) {
  const SafetensorsFile file = SafetensorsFile::open(directory + "/model.safetensors");
  require_fit(model.parameters(), model.config(), file, directory);
  for (const auto& p : model.parameters().all()) {
    const std::vector<HfTensor> sources = hf_tensors_of(model.config(), p->name());
    const Tensor& to = p->change();
    for (size_t e = 0; e < sources.size(); ++e) {
      Tensor from = load(file, sources[e]);
      copy_into(to.rank() == 3 ? to.slice(0, int64_t(e), int64_t(e) + 1).reshape(from.shape()) : to, from);
    }
  }
}

}  // namespace pumice
