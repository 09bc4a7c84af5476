#include "pumice/models/hf/llava.h"

#include <filesystem>

#include "pumice/models/hf/config.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/hf/vision.h"
#include "pumice/models/hf/weights.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

// Sizes of the towers that released models name.
bool known_tower(const std::string& name, VisionConfig& c) {
  if (name == "openai/clip-vit-large-patch14-336" || name == "openai/clip-vit-large-patch14") {
    c = {.image_size = name.back() == '6' ? 336 : 224, .patch = 14, .width = 1024, .layers = 24, .heads = 16, .hidden = 4096};
    return true;
  }
  if (name == "google/siglip-so400m-patch14-384") {
    c = {.family = "siglip", .image_size = 384, .patch = 14, .width = 1152, .layers = 27, .heads = 16, .hidden = 4304, .norm_eps = 1e-6,
         .activation = Gelu::tanh, .class_token = false, .first_norm = false, .patch_bias = true};
    return true;
  }
  return false;
}

struct Prefixes {
  std::string tower, projector, text;
};
Prefixes prefixes_of(const LlavaConfig& c) {
  const std::string trunk = c.text.family == "qwen" ? "transformer." : "model.";
  if (c.layout == "hf") { return {"vision_tower.", "multi_modal_projector.", "language_model."}; }
  if (c.layout == "llava") { return {trunk + "vision_tower.vision_tower.", trunk + "mm_projector.", ""}; }
  return {trunk + "image_tower.image_tower.", trunk + "mm_projector.image_spatial_proj.", ""};
}

}  // namespace

bool is_llava_config(const std::string& text, const std::string& source) {
  const nlohmann::json value = parse_hf_object(text, source);
  const Fields f(value, source);
  return f.has("vision_config") || f.has("mm_image_tower") || f.has("mm_vision_tower");
}

std::string tower_inside(const std::string& directory) {
  namespace fs = std::filesystem;
  const std::string path = directory + "/config.json";
  if (!fs::is_regular_file(path)) { return ""; }
  const nlohmann::json value = parse_json_or_discard(read_file(path));
  for (const char* field : {"mm_image_tower", "mm_vision_tower"}) {
    if (!value.is_object() || !value.contains(field) || !value[field].is_string()) { continue; }
    const fs::path tower = fs::path(value[field].get<std::string>()).lexically_normal();
    const bool inside = !tower.empty() && tower.is_relative() && *tower.begin() != ".." && *tower.begin() != ".";
    if (inside && fs::is_directory(fs::path(directory) / tower)) { return tower.string(); }
  }
  return "";
}

int64_t projector_layers_of(const std::string& type) {
  if (type == "linear") { return 1; }
  const size_t end = type.find("x_gelu");
  const bool mlp = type.starts_with("mlp") && end != std::string::npos && end == type.size() - 6 && end > 3 && end < 6 &&
                   type.find_first_not_of("0123456789", 3) == end;
  const int64_t layers = mlp ? std::stoll(type.substr(3)) : 0;
  return layers >= 2 ? layers : 0;
}

LlavaConfig llava_config_from_hf(const std::string& text, const std::string& source, const VisionConfig& vision) {
  const nlohmann::json value = parse_hf_object(text, source);
  const Fields f(value, source);
  LlavaConfig c;
  if (f.object("text_config")) {
    c.layout = "hf";
    c.vision = vision_config_from_hf(text, source);
    c.text = decoder_config_from_hf(value["text_config"].dump(), source + ": in \"text_config\"");
    f.one_of("projector_hidden_act", "gelu", {"gelu"});
    f.only("multimodal_projector_bias", true);
    c.vision_layer = f.integer("vision_feature_layer", -2);
    f.one_of("vision_feature_select_strategy", "default", {"default", "full"});
    c.drop_first = f.text("vision_feature_select_strategy", "default") == "default";
  } else {
    c.layout = f.has("mm_image_tower") || f.has("image_projector_type") ? "moe_llava" : "llava";
    c.vision = vision;
    c.text = decoder_config_from_hf(text, source);
    const std::string projector = f.text(c.layout == "llava" ? "mm_projector_type" : "image_projector_type", "linear");
    c.projector_layers = projector_layers_of(projector);
    REQUIRE(FormatError, c.projector_layers > 0, source, ": a projector of type \"", projector, "\" is not supported, only \"linear\" and \"mlpNx_gelu\"");
    c.vision_layer = f.integer("mm_vision_select_layer", -2);
    f.one_of("mm_vision_select_feature", "patch", {"patch", "cls_patch"});
    c.drop_first = f.text("mm_vision_select_feature", "patch") == "patch";
    f.one_of("image_aspect_ratio", "square", {"square", "pad"});  // LLaVA-1.6 cuts tiles (anyres)
  }
  try {
    c.validate();
  } catch (const UsageError& e) {
    throw FormatError(source + ": " + e.what());
  }
  return c;
}

std::vector<HfTensor> hf_llava_tensors(const LlavaConfig& c, const std::string& parameter) {
  const Prefixes p = prefixes_of(c);
  if (parameter.starts_with("vision.")) { return {tower_tensor(c.vision, parameter.substr(7), p.tower)}; }
  if (parameter.starts_with("projector.")) {
    if (c.layout != "hf" && c.projector_layers == 1) { return {{p.projector + parameter.substr(parameter.rfind('.') + 1)}}; }  // a layer, not a list of one
    if (c.layout != "hf") { return {{p.projector + parameter.substr(10)}}; }
    const int64_t layer = std::stoll(parameter.substr(10)) / 2 + 1;  // linear_1, linear_2
    return {{p.projector + "linear_" + std::to_string(layer) + parameter.substr(parameter.rfind('.'))}};
  }
  std::vector<HfTensor> all = hf_tensors_of(c.text, parameter);
  for (HfTensor& t : all) { t.name = p.text + t.name; }
  return all;
}

LlavaConfig read_llava_config(const std::string& directory, std::string& tower) {
  namespace fs = std::filesystem;
  const std::string path = directory + "/config.json", text = read_file(path);
  const nlohmann::json value = parse_hf_object(text, path);
  const Fields f(value, path);
  if (f.object("text_config")) { return llava_config_from_hf(text, path, {}); }
  const char* field = f.has("mm_image_tower") ? "mm_image_tower" : "mm_vision_tower";
  const std::string named = f.text(field, "");
  VisionConfig vision;
  if (tower.empty() && !named.empty() && fs::is_directory(fs::path(directory) / named)) { tower = (fs::path(directory) / named).string(); }
  if (!tower.empty()) {
    tower = tower_directory(tower);
    vision = read_vision_config(tower);
  } else {
    REQUIRE(FormatError, known_tower(named, vision), path, ": \"", field, "\": \"", named, "\" is neither a directory beside it nor a tower whose sizes are "
            "known (openai/clip-vit-large-patch14-336, google/siglip-so400m-patch14-384): give the tower's directory with --image-tower");
  }
  return llava_config_from_hf(text, path, vision);
}

std::string tower_prefix_of(const LlavaConfig& config) { return prefixes_of(config).tower; }

bool holds_tower(const LlavaConfig& config, const WeightFiles& weights) {
  return weights.contains(hf_llava_tensors(config, "vision." + std::string(config.vision.run ? "image." : "") + "patches.weight")[0].name);
}

Llava open_llava(const std::string& directory, const std::string& tower_given) {
  std::string tower = tower_given;
  const LlavaConfig config = read_llava_config(directory, tower);
  const WeightFiles weights = WeightFiles::open(directory);
  Llava model = Llava::unfilled(config);
  const std::string prefix = tower_prefix_of(config);
  const bool inside = holds_tower(config, weights);
  REQUIRE(FormatError, inside || !tower.empty(), directory, ": the weights of the vision tower are not in the checkpoint (", prefix, "...): give its "
          "directory with --image-tower");
  const auto of_tower = [](const std::string& parameter) { return parameter.starts_with("vision."); };
  const auto ignored = [&](const std::string& tensor) {
    const bool head = config.text.tied && tensor == prefixes_of(config).text + "lm_head.weight";
    return head || (tensor.starts_with(prefix) && is_beside_tower(config.vision, tensor.substr(prefix.size())));
  };
  bind_weights(model.parameters(), weights, [&](const std::string& name) {
    return of_tower(name) && !inside ? std::vector<HfTensor>() : hf_llava_tensors(config, name);
  }, ignored, directory);
  if (!inside) {
    bind_weights(model.parameters(), WeightFiles::open(tower), [&](const std::string& name) {
      return of_tower(name) ? std::vector{tower_tensor(config.vision, name.substr(7), "")} : std::vector<HfTensor>();
    }, [&](const std::string& tensor) { return is_beside_tower(config.vision, tensor); }, tower);
  }
  return model;
}

}  // namespace pumice
