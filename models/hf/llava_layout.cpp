#include "pumice/models/hf/llava_layout.h"

#include <algorithm>

#include "pumice/models/hf/config.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/hf/vision.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

using Json = nlohmann::json;

// What LLaVA and MoE-LLaVA add to a decoder's fields.
bool is_llava_field(const std::string& name) {
  for (const char* start : {"mm_", "image_", "video_", "tune_mm_", "freeze_mm_", "unfreeze_mm_"}) {
    if (name.starts_with(start)) { return true; }
  }
  return name == "use_mm_proj" || name == "tokenizer_padding_side" || name == "tokenizer_model_max_length" || name == "lora";
}

// The classes of a config.json without MoE-LLaVA's and LLaVA's beginnings, and with `prefix` in front.
void rename_classes(Json& config, const std::string& prefix) {
  const auto classes = config.find("architectures");
  if (classes == config.end() || !classes->is_array()) { return; }
  for (Json& value : *classes) {
    if (!value.is_string()) { continue; }
    std::string name = value;
    for (const std::string known : {"EvalMoELLaVA", "MoELLaVA", "Llava"}) {
      if (name.starts_with(known)) { name.erase(0, known.size()); }
    }
    value = prefix + name;
  }
}

constexpr const char* kElsewhere = ": use the layout llava or moe_llava";

std::string projector_type(int64_t layers) { return layers == 1 ? "linear" : "mlp" + std::to_string(layers) + "x_gelu"; }

// The decoder's own config.json with LLaVA's or MoE-LLaVA's fields in it.
Json named_config(const LlavaConfig& c, const LlavaParts& parts) {
  const bool moe_llava = c.layout == "moe_llava", sparse = !c.text.moe_layers.empty();
  Json config = parse_json(parts.decoder);
  for (const char* field : {"mm_image_tower", "mm_vision_tower", "image_projector_type", "mm_projector_type"}) { config.erase(field); }
  if (!sparse) { config["model_type"] = "llava_" + (moe_llava && c.text.family == "qwen2" ? std::string("qwen1_5") : c.text.family); }
  if (c.text.family == "phi" && c.text.head_bias) { config["lm_head_bias"] = true; }  // as in upcycled_config()
  rename_classes(config, sparse ? "MoELLaVA" : "Llava");
  config.erase("auto_map");  // classes of the decoder alone
  config[moe_llava ? "mm_image_tower" : "mm_vision_tower"] = parts.tower_name;
  config[moe_llava ? "image_projector_type" : "mm_projector_type"] = projector_type(c.projector_layers);
  config["mm_hidden_size"] = c.vision.width;
  config["mm_vision_select_layer"] = c.vision_layer;
  config["mm_vision_select_feature"] = c.drop_first ? "patch" : "cls_patch";
  for (const auto& [field, value] : {std::pair{"mm_use_im_start_end", false}, {"mm_use_im_patch_token", false}, {"use_mm_proj", true}}) {
    if (!config.contains(field)) { config[field] = value; }
  }
  return config;
}

Json transformers_config(const LlavaConfig& c, const LlavaParts& parts) {
  Json decoder = parse_json(parts.decoder);
  for (auto field = decoder.begin(); field != decoder.end();) {
    if (is_llava_field(field.key())) { field = decoder.erase(field); }
    else { ++field; }
  }
  Json config = {{"model_type", "llava"}, {"architectures", {"LlavaForConditionalGeneration"}}, {"text_config", decoder},
                 {"vision_config", parse_json(parts.tower)}, {"image_token_index", parts.image_token}, {"image_seq_length", c.image_tokens()},
                 {"projector_hidden_act", "gelu"}, {"multimodal_projector_bias", true}, {"tie_word_embeddings", c.text.tied},
                 {"vision_feature_layer", c.vision_layer}, {"vision_feature_select_strategy", c.drop_first ? "default" : "full"}};
  for (const char* type : {"torch_dtype", "dtype"}) {
    if (decoder.contains(type)) { config[type] = decoder[type]; }
  }
  return config;
}

}  // namespace

void require_projector(const LlavaConfig& c) {
  REQUIRE(UsageError, c.layout != "hf" || c.projector_layers == 2, "[llava] Transformers' LLaVA has the projector mlp2x_gelu, not ",
          projector_type(c.projector_layers), kElsewhere);
}

void require_describable(const LlavaConfig& c, int32_t image_token) {
  const bool hf = c.layout == "hf", sparse = !c.text.moe_layers.empty();
  REQUIRE(UsageError, hf || c.layout == "llava" || c.layout == "moe_llava", "[llava] the layout must be llava, hf or moe_llava, got '", c.layout, "'");
  REQUIRE(UsageError, !sparse || c.layout == "moe_llava", "[llava] the decoder has experts, which the layout moe_llava alone can describe");
  require_projector(c);
  REQUIRE(UsageError, !hf || !c.vision.run, "[llava] Transformers' layout cannot describe a tower of our own (", c.vision.family, ")", kElsewhere);
  REQUIRE(UsageError, !hf || c.text.family != "qwen", "[llava] Transformers has no Qwen-1", kElsewhere);
  REQUIRE(UsageError, !hf || !c.text.head_bias, "[llava] Transformers' LLaVA has a head without the bias that this decoder's has (", c.text.family, ")",
          kElsewhere);
  REQUIRE(UsageError, !hf || (image_token >= 0 && image_token <= c.text.vocabulary), "[llava] Transformers' layout needs a token that stands for a "
          "picture, an id of at most the vocabulary of ", c.text.vocabulary, ", got ", image_token);
}

std::string decoder_part(const std::string& text, const std::string& source) {
  Json config = parse_hf_object(text, source);
  if (const Fields f(config, source); f.object("text_config")) {
    Json inner = config["text_config"];
    for (const char* type : {"torch_dtype", "dtype"}) {
      if (config.contains(type)) { inner[type] = config[type]; }
    }
    return inner.dump(2) + "\n";
  }
  const DecoderConfig c = decoder_config_from_hf(text, source);
  if (c.moe_layers.empty()) { config["model_type"] = c.family; }
  if (c.family == "phi") { config["lm_head_bias"] = c.head_bias; }
  rename_classes(config, "");
  return config.dump(2) + "\n";
}

std::string tower_part(const std::string& text, const std::string& source, const VisionConfig& vision, const NamedTensors& tensors) {
  const Json config = parse_hf_object(text, source);
  if (vision.run) { return text; }
  Json part = config.contains("vision_config") ? config["vision_config"] : config;
  part["model_type"] = vision.family + "_vision_model";
  const bool pools = std::any_of(tensors.begin(), tensors.end(), [](const auto& t) { return t.first.starts_with("vision_model.head."); });
  if (vision.family == "siglip" && !pools) { part["vision_use_head"] = false; }
  return part.dump(2) + "\n";
}

std::string tower_config_of(const VisionConfig& vision, const NamedTensors& tensors) {
  return tower_part(vision_config_to_hf(vision), vision.family, vision, tensors);
}

std::string llava_config_to_hf(const LlavaConfig& c, const LlavaParts& parts) {
  Json config = c.layout == "hf" ? transformers_config(c, parts) : named_config(c, parts);
  if (!parts.image_aspect_ratio.empty()) { config["image_aspect_ratio"] = parts.image_aspect_ratio; }
  return config.dump(2) + "\n";
}

int64_t rows_with_image_token(int64_t vocabulary, int32_t image_token) {
  return image_token == vocabulary ? (vocabulary / 64 + 1) * 64 : vocabulary;
}

Tensor with_rows(const Tensor& table, int64_t rows) {
  const int64_t V = table.dim(0), C = table.dim(1), piece = 4096;
  if (rows == V) { return table; }
  std::vector<double> mean(size_t(C), 0.0);
  for (int64_t begin = 0; begin < V; begin += piece) {
    const std::vector<float> part = to_dtype(table.slice(0, begin, std::min(V, begin + piece)), DType::f32).to_vector<float>();
    for (size_t i = 0; i < part.size(); ++i) { mean[i % size_t(C)] += double(part[i]) / double(V); }
  }
  Tensor all = empty({rows, C}, table.dtype());
  copy_into(all.slice(0, 0, V), table);
  const Tensor row = to_dtype(from_values<float>({1, C}, std::vector<float>(mean.begin(), mean.end())), table.dtype());
  for (int64_t v = V; v < rows; ++v) { copy_into(all.slice(0, v, v + 1), row); }
  return all;
}

std::string with_dtype(const std::string& text, const std::string& source, DType dtype) {
  const char* named = dtype == DType::bf16 ? "bfloat16" : dtype == DType::f16 ? "float16" : "float32";
  Json config = parse_hf_object(text, source);
  const auto set = [&](Json& at, bool always) {
    if (at.contains("dtype")) { at["dtype"] = named; }  // Transformers 5
    if (at.contains("torch_dtype") || (always && !at.contains("dtype"))) { at["torch_dtype"] = named; }
  };
  set(config, true);
  for (const char* part : {"text_config", "vision_config"}) {
    if (config.contains(part) && config[part].is_object()) { set(config[part], false); }
  }
  return config.dump(2) + "\n";
}

}  // namespace pumice
