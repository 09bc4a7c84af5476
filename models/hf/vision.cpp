#include "pumice/models/hf/vision.h"

#include <filesystem>

#include "pumice/models/checkpoint_files.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/run_tower.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

constexpr struct { const char *ours, *theirs; } kNames[] = {
    {"patches.", "embeddings.patch_embedding."}, {"positions.", "embeddings.position_embedding."}, {"first_norm.", "pre_layrnorm."}, {"norm.", "post_layernorm."}};
constexpr struct { const char *ours, *theirs; } kLayerNames[] = {
    {"norm1.", "layer_norm1."}, {"norm2.", "layer_norm2."}, {"attention.q.", "self_attn.q_proj."}, {"attention.k.", "self_attn.k_proj."},
    {"attention.v.", "self_attn.v_proj."}, {"attention.out.", "self_attn.out_proj."}, {"mlp.up.", "mlp.fc1."}, {"mlp.down.", "mlp.fc2."}};

bool is_run(const std::string& text, const std::string& source) {
  const nlohmann::json value = parse_hf_object(text, source);
  return value.contains("architecture") && !value.contains("model_type");
}

HfTensor hf_vision_tensor(const std::string& parameter, const std::string& prefix) {
  if (parameter == "class_token") { return {prefix + "embeddings.class_embedding"}; }
  if (parameter.starts_with("layers.")) {
    const size_t end = parameter.find('.', 7);
    const std::string rest = parameter.substr(end + 1);
    for (const auto& name : kLayerNames) {
      if (rest.starts_with(name.ours)) { return {prefix + "encoder." + parameter.substr(0, end + 1) + name.theirs + rest.substr(std::string(name.ours).size())}; }
    }
  }
  for (const auto& name : kNames) {
    if (parameter.starts_with(name.ours)) { return {prefix + name.theirs + parameter.substr(std::string(name.ours).size())}; }
  }
  throw UsageError("[hf] a vision tower has no parameter '" + parameter + "'");
}

}  // namespace

VisionConfig vision_config_from_hf(const std::string& text, const std::string& source) {
  const nlohmann::json value = parse_hf_object(text, source);
  const Fields whole(value, source);
  const std::optional<Fields> inner = whole.object("vision_config");
  const Fields& f = inner ? *inner : whole;
  const std::string type = f.text("model_type", "clip_vision_model");
  const bool clip = type == "clip_vision_model", siglip = type == "siglip_vision_model";
  REQUIRE(FormatError, clip || siglip, f.source(), ": \"model_type\": \"", type, "\" is no vision tower that is known, which are clip_vision_model "
          "and siglip_vision_model, and runs of limoe, two-tower and classifier");
  // fields that equal Transformers' defaults may be left out
  VisionConfig c{.family = clip ? "clip" : "siglip", .image_size = f.integer("image_size", 224), .patch = f.integer("patch_size", clip ? 32 : 16),
                 .width = f.integer("hidden_size", 768), .layers = f.integer("num_hidden_layers", 12), .heads = f.integer("num_attention_heads", 12),
                 .hidden = f.integer("intermediate_size", 3072), .norm_eps = f.number("layer_norm_eps", clip ? 1e-5 : 1e-6),
                 .class_token = clip, .first_norm = clip, .patch_bias = siglip};
  REQUIRE(FormatError, f.integer("num_channels", 3) == 3, f.source(), ": \"num_channels\" must be 3, got ", f.integer("num_channels", 3));
  const std::string activation = f.text("hidden_act", clip ? "quick_gelu" : "gelu_pytorch_tanh");
  f.one_of("hidden_act", activation, {"quick_gelu", "gelu", "gelu_pytorch_tanh"});
  c.activation = activation == "quick_gelu" ? Gelu::quick : activation == "gelu" ? Gelu::erf : Gelu::tanh;
  try {
    c.validate();
  } catch (const UsageError& e) {
    throw FormatError(source + ": " + e.what());
  }
  return c;
}

std::string vision_config_to_hf(const VisionConfig& c) {
  const nlohmann::json config = {{"model_type", c.family + "_vision_model"}, {"image_size", c.image_size}, {"patch_size", c.patch}, {"num_channels", 3},
                           {"hidden_size", c.width}, {"num_hidden_layers", c.layers}, {"num_attention_heads", c.heads},
                           {"intermediate_size", c.hidden}, {"layer_norm_eps", c.norm_eps},
                           {"hidden_act", c.activation == Gelu::quick ? "quick_gelu" : c.activation == Gelu::erf ? "gelu" : "gelu_pytorch_tanh"}};
  return config.dump(2) + "\n";
}

std::string tower_directory(const std::string& given) {
  const std::string path = given + "/config.json";
  const bool described = std::filesystem::is_regular_file(path);
  if (described && (!is_run(read_file(path), path) || !has_checkpoint(given))) { return given; }
  REQUIRE(IoError, has_checkpoint(given), given,
          std::filesystem::exists(given) ? " is no vision tower: it holds neither a config.json nor a checkpoint of a run"
                                         : " does not exist; a directory of a vision tower is required");
  return find_checkpoint(given);
}

VisionConfig read_vision_config(const std::string& directory) {
  const std::string path = directory + "/config.json", text = read_file(path);
  return is_run(text, path) ? vision_config_of(image_text_config_from_json(text, path)) : vision_config_from_hf(text, path);
}

HfTensor tower_tensor(const VisionConfig& config, const std::string& parameter, const std::string& prefix) {
  return config.run ? HfTensor{prefix + parameter} : hf_vision_tensor(parameter, prefix + "vision_model.");
}

bool is_beside_tower(const VisionConfig& config, const std::string& tensor) {
  const std::vector<const char*> theirs = {"vision_model.head.", "text_model.", "visual_projection.", "text_projection.", "logit_"};
  const std::vector<const char*> ours = {"image.head.", "image.pool.", "text.", "classes.", "log_temperature", "logit_bias"};
  for (const char* start : config.run ? ours : theirs) {
    if (tensor.starts_with(start)) { return true; }
  }
  return false;
}

std::vector<std::pair<std::string, Tensor>> tower_tensors(const VisionConfig& config, const WeightFiles& files, const std::string& prefix) {
  const auto store = ParameterStore::make_unfilled();
  const auto tower = make_image_tower(Scope(*store), config);
  std::vector<std::pair<std::string, Tensor>> all;
  for (const auto& p : store->all()) {
    const std::string name = tower_tensor(config, p->name(), "").name;
    all.emplace_back(name, files.load(prefix + name));
  }
  const std::string head = prefix + "vision_model.head.";
  for (const std::string& name : files.names()) {
    if (name.starts_with(head)) { all.emplace_back(name.substr(prefix.size()), files.load(name)); }
  }
  return all;
}

OpenVisionTower open_vision_tower(const std::string& given) {
  const std::string directory = tower_directory(given);
  const VisionConfig config = read_vision_config(directory);
  OpenVisionTower open{.store = ParameterStore::make_unfilled()};
  open.tower = make_image_tower(Scope(*open.store), config);
  bind_weights(*open.store, WeightFiles::open(directory), [&](const std::string& name) { return std::vector{tower_tensor(config, name, "")}; },
               [&](const std::string& tensor) { return is_beside_tower(config, tensor); }, directory);
  return open;
}

}  // namespace pumice
