#include "pumice/models/hf/write.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "pumice/models/hf/config.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/hf/weights.h"
#include "pumice/ops/index/concat.h"
#include "pumice/tensor/rng.h"

namespace pumice {

NamedTensors hf_tensors(const ParameterStore& parameters, const Locate& locate, DType dtype) {
  NamedTensors all;
  std::map<std::string, std::vector<Tensor>> parts;  // of tensors that hold several parameters
  for (const auto& p : parameters.all()) {
    const std::vector<HfTensor> targets = locate(p->name());
    for (size_t e = 0; e < targets.size(); ++e) {
      const HfTensor& t = targets[e];
      Tensor value = to_dtype(to_device(t.slice ? p->slice(int64_t(e), p->dtype()) : p->value().detach(), Device::cpu()), dtype);
      if (t.parts == 1) {
        all.emplace_back(t.name, value);
        continue;
      }
      parts[t.name].push_back(value);
      if (int64_t(parts[t.name].size()) == t.parts) {
        NoGrad no_grad;
        all.emplace_back(t.name, concat(parts[t.name], 0));
      }
    }
  }
  return all;
}

DecoderConfig text_config_of(const std::string& text, const std::string& source) {
  const nlohmann::json value = parse_hf_object(text, source);
  if (const Fields f(value, source); !f.object("text_config")) { return decoder_config_from_hf(text, source); }
  return decoder_config_from_hf(value["text_config"].dump(), source + ": in \"text_config\"");
}

NamedTensors upcycled_tensors(const NamedTensors& dense, const DecoderConfig& sparse, uint64_t seed) {
  DecoderConfig plain = sparse;
  plain.moe_layers.clear();
  plain.experts.clear();
  const Decoder shapes = Decoder::unfilled(sparse);
  std::map<std::string, std::vector<std::string>> copies;  // of a dense tensor: the names of its experts
  NamedTensors all, routers;
  for (const auto& p : shapes.parameters().all()) {
    const std::string& name = p->name();
    const size_t moe = name.find(".moe."), experts = name.find(".moe.experts.");
    const bool beside = moe == std::string::npos && name.find(".mlp.") != std::string::npos && hf_tensors_of(sparse, name)[0].name != hf_tensors_of(plain, name)[0].name;
    if (experts != std::string::npos || beside) {
      const std::string mlp = beside ? name : name.substr(0, experts) + ".mlp." + name.substr(experts + 13);
      for (const HfTensor& t : hf_tensors_of(sparse, name)) { copies[hf_tensors_of(plain, mlp)[0].name].push_back(t.name); }
    } else if (moe != std::string::npos) {  // the router, or the weights of a residual mixture
      const double bound = 1 / std::sqrt(double(sparse.width));
      const RandomKey key{.seed = seed, .site = site_of(name.c_str())};
      routers.emplace_back(hf_tensors_of(sparse, name)[0].name, random_uniform_tensor(p->shape(), -bound, bound, key));
    }
  }
  for (const auto& [name, tensor] : dense) {
    const auto at = copies.find(name);
    if (at == copies.end()) {
      all.emplace_back(name, tensor);
      continue;
    }
    for (const std::string& copy : at->second) { all.emplace_back(copy, tensor); }
    copies.erase(at);
  }
  REQUIRE(FormatError, copies.empty(), "the checkpoint has no tensor ", copies.begin()->first, ", which should become experts");
  all.insert(all.end(), routers.begin(), routers.end());
  return all;
}

namespace {

RouterOptions gate_of(const MoeSettings& m) {
  const int chosen = int(std::clamp<int64_t>(m.experts_per_token, 1, 4096));  // whether there are so many experts is asked where layers are known
  RouterOptions o{.experts = chosen, .experts_per_token = chosen};
  set_gate(o, m.gate);
  if (!m.order.empty()) { o.order = order_named(m.order); }
  if (!m.second_choice.empty()) { o.second = second_choice_named(m.second_choice); }
  if (!m.gates.empty()) { o.gates = gates_named(m.gates); }
  require_valid(o);
  return o;
}

}  // namespace

std::string upcycled_config(const std::string& text, const std::string& source, const MoeSettings& m) {
  nlohmann::json value = parse_hf_object(text, source);
  const DecoderConfig dense = decoder_config_from_hf(text, source);
  REQUIRE(UsageError, dense.moe_layers.empty(), source, ": this model is sparse already");
  const std::vector<int64_t> layers = m.layers.empty() ? moe_layers_of(m.mode, dense.layers) : m.layers;
  std::vector<int64_t> experts = m.experts;
  if (experts.size() == 1) { experts.resize(layers.size(), experts[0]); }
  const RouterOptions gate = gate_of(m);
  value["moe"] = {{"capacity_factor", m.capacity_factor}, {"ep_size", 1}, {"eval_capacity_factor", m.eval_capacity_factor}, {"min_capacity", m.min_capacity},
                  {"moe_enable", true}, {"moe_layers_idx", layers}, {"moe_mode", m.layers.empty() ? m.mode : "custom"}, {"num_experts", experts},
                  {"router_aux_loss_coef", m.aux_weight}, {"top_k_experts", m.experts_per_token}, {"use_residual", m.residual},
                  {"order", name_of(gate.order)}, {"second_choice", name_of(gate.second)}, {"gates", name_of(gate.gates)}};
  value["model_type"] = "moe_llava_" + (dense.family == "qwen2" ? std::string("qwen1_5") : dense.family);
  if (const auto classes = value.find("architectures"); classes != value.end() && classes->is_array()) {
    for (nlohmann::json& name : *classes) {
      if (name.is_string() && name.get<std::string>().starts_with("Llava")) { name = "MoELLaVA" + name.get<std::string>().substr(5); }
    }
  }
  if (dense.family == "phi" && dense.head_bias) { value["lm_head_bias"] = true; }  // MoE-LLaVA's Phi has none, this one does
  const std::string sparse = value.dump(2) + "\n";
  decoder_config_from_hf(sparse, source);  // throws what does not fit
  return sparse;
}

}  // namespace pumice
