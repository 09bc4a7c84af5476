#include "pumice/models/hf/vision.h"

#include "pumice/models/hf/fields.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

bool starts_with(const std::string& text, const char* start) { return text.rfind(start, 0) == 0; }

constexpr struct { const char *ours, *theirs; } kNames[] = {
    {"patches.", "embeddings.patch_embedding."}, {"positions.", "embeddings.position_embedding."}, {"first_norm.", "pre_layrnorm."}, {"norm.", "post_layernorm."}};
constexpr struct { const char *ours, *theirs; } kLayerNames[] = {
    {"norm1.", "layer_norm1."}, {"norm2.", "layer_norm2."}, {"attention.q.", "self_attn.q_proj."}, {"attention.k.", "self_attn.k_proj."},
    {"attention.v.", "self_attn.v_proj."}, {"attention.out.", "self_attn.out_proj."}, {"mlp.up.", "mlp.fc1."}, {"mlp.down.", "mlp.fc2."}};

}  // namespace

VisionConfig vision_config_from_hf(const std::string& text, const std::string& source) {
  const nlohmann::json value = parse_hf_object(text, source);
  const Fields whole(value, source);
  const std::optional<Fields> inner = whole.object("vision_config");
  const Fields& f = inner ? *inner : whole;
  const std::string type = f.text("model_type", "clip_vision_model");
  const bool clip = type == "clip_vision_model", siglip = type == "siglip_vision_model";
  REQUIRE(FormatError, clip || siglip, f.source(), ": \"model_type\": \"", type, "\" is no vision tower that is known, which are clip_vision_model and siglip_vision_model");
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

HfTensor hf_vision_tensor(const std::string& parameter, const std::string& prefix) {
  if (parameter == "class_token") { return {prefix + "embeddings.class_embedding"}; }
  if (starts_with(parameter, "layers.")) {
    const size_t end = parameter.find('.', 7);
    const std::string rest = parameter.substr(end + 1);
    for (const auto& name : kLayerNames) {
      if (starts_with(rest, name.ours)) { return {prefix + "encoder." + parameter.substr(0, end + 1) + name.theirs + rest.substr(std::string(name.ours).size())}; }
    }
  }
  for (const auto& name : kNames) {
    if (starts_with(parameter, name.ours)) { return {prefix + name.theirs + parameter.substr(std::string(name.ours).size())}; }
  }
  throw UsageError("[hf] a vision tower has no parameter '" + parameter + "'");
}

bool is_beside_tower(const std::string& tensor) {
  for (const char* start : {"vision_model.head.", "text_model.", "visual_projection.", "text_projection.", "logit_"}) {
    if (starts_with(tensor, start)) { return true; }
  }
  return false;
}

OpenVisionTower open_vision_tower(const std::string& directory) {
  const std::string path = directory + "/config.json";
  OpenVisionTower open{.store = ParameterStore::make_unfilled()};
  open.tower = std::make_unique<VisionTower>(Scope(*open.store), vision_config_from_hf(read_file(path), path));
  bind_weights(*open.store, WeightFiles::open(directory),
               [](const std::string& name) { return std::vector{hf_vision_tensor(name, "vision_model.")}; },
               is_beside_tower, directory);
  return open;
}

}  // namespace pumice
