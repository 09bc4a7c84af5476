#include "pumice/models/hf/assemble.h"

#include <algorithm>
#include <set>

#include "pumice/models/hf/config.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/hf/vision.h"
#include "pumice/models/hf/weights.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

using Json = nlohmann::json;

void require_layout(const AssembleSettings& s, const DecoderConfig& text, const VisionConfig& vision) {
  const bool hf = s.layout == "hf", sparse = !text.moe_layers.empty();
  REQUIRE(UsageError, hf || s.layout == "llava" || s.layout == "moe_llava", "[assemble] the layout must be llava, hf or moe_llava, got '", s.layout,
          "'");
  REQUIRE(UsageError, projector_layers_of(s.projector) > 0, "[assemble] the projector must be linear or mlpNx_gelu, such as mlp2x_gelu, got '",
          s.projector, "'");
  REQUIRE(UsageError, s.vision_layer >= -vision.layers - 1 && s.vision_layer <= vision.layers, "[assemble] the tower has layers 0 to ",
          vision.layers, " or -", vision.layers + 1, " to -1, got ", s.vision_layer);
  REQUIRE(UsageError, !hf || s.projector == "mlp2x_gelu", "[assemble] Transformers' LLaVA has the projector mlp2x_gelu, not ", s.projector,
          ": use the layout llava or moe_llava");
  REQUIRE(UsageError, !hf || !vision.run, "[assemble] Transformers' layout cannot describe a tower of our own (", vision.family,
          "): use the layout llava or moe_llava");
  REQUIRE(UsageError, !hf || text.family != "qwen", "[assemble] Transformers has no Qwen-1: use the layout llava or moe_llava");
  REQUIRE(UsageError, !hf || !text.head_bias, "[assemble] Transformers' LLaVA has a head without the bias that this decoder's has (", text.family,
          "): use the layout llava or moe_llava");
  REQUIRE(UsageError, !sparse || s.layout == "moe_llava", "[assemble] the decoder has experts, which the layout moe_llava alone can describe");
  REQUIRE(UsageError, !hf || (s.image_token >= 0 && s.image_token <= text.vocabulary), "[assemble] Transformers' layout needs a token that stands "
          "for a picture, an id of at most the vocabulary of ", text.vocabulary, ", got ", s.image_token);
}

// The decoder's own config.json with LLaVA's or MoE-LLaVA's fields in it.
Json named_config(Json config, const AssembleSettings& s, const DecoderConfig& text, const VisionConfig& vision) {
  const bool moe_llava = s.layout == "moe_llava";
  if (text.moe_layers.empty()) { config["model_type"] = "llava_" + (moe_llava && text.family == "qwen2" ? std::string("qwen1_5") : text.family); }
  if (text.family == "phi" && text.head_bias) { config["lm_head_bias"] = true; }  // as in upcycled_config()
  if (const auto classes = config.find("architectures"); classes != config.end() && classes->is_array()) {
    for (Json& name : *classes) {
      if (name.is_string()) { name = "Llava" + name.get<std::string>(); }
    }
  }
  config.erase("auto_map");  // classes of the decoder alone
  config[moe_llava ? "mm_image_tower" : "mm_vision_tower"] = kTowerInside;
  config[moe_llava ? "image_projector_type" : "mm_projector_type"] = s.projector;
  config["mm_hidden_size"] = vision.width;
  config["mm_vision_select_layer"] = s.vision_layer;
  config["mm_vision_select_feature"] = vision.family == "siglip" ? "cls_patch" : "patch";  // "patch" would lose the first one
  config["mm_use_im_start_end"] = config["mm_use_im_patch_token"] = false;
  config["use_mm_proj"] = true;
  config["image_aspect_ratio"] = "pad";
  return config;
}

// Of a tower alone, where `config` may describe more.
Json vision_part(const Json& config, const VisionConfig& vision) {
  if (vision.run) { return config; }
  Json part = config.contains("vision_config") ? config["vision_config"] : config;
  part["model_type"] = vision.family + "_vision_model";
  return part;
}

Json transformers_config(const Json& decoder, const Json& seen, const AssembleSettings& s, const DecoderConfig& text, const VisionConfig& vision) {
  const bool full = vision.family == "siglip";
  Json config = {{"model_type", "llava"}, {"architectures", {"LlavaForConditionalGeneration"}}, {"text_config", decoder}, {"vision_config", seen},
                 {"image_token_index", s.image_token}, {"image_seq_length", vision.tokens() - (full ? 0 : 1)}, {"projector_hidden_act", "gelu"},
                 {"multimodal_projector_bias", true}, {"tie_word_embeddings", text.tied}, {"vision_feature_layer", s.vision_layer},
                 {"vision_feature_select_strategy", full ? "full" : "default"}};
  for (const char* type : {"torch_dtype", "dtype"}) {
    if (decoder.contains(type)) { config[type] = decoder[type]; }
  }
  return config;
}

// The tensors of a tower: for Transformers, which wants the pooling behind it as well, all that its model has, else what is read.
NamedTensors tower_tensors(const OpenVisionTower& open, const std::string& directory, bool whole) {
  const WeightFiles files = WeightFiles::open(directory);
  NamedTensors all;
  std::set<std::string> known;
  for (const auto& p : open.store->all()) {
    const std::string name = tower_tensor(open.tower->config(), p->name(), "").name;
    all.emplace_back(name, files.load(name));
    known.insert(name);
  }
  for (const std::string& name : files.names()) {
    if (whole && name.rfind("vision_model.head.", 0) == 0 && known.insert(name).second) { all.emplace_back(name, files.load(name)); }
  }
  return all;
}

// With rows for a picture's id, up to a multiple of 64. Each is the mean of the others: in a head it is then never the most probable token.
Tensor grown(const Tensor& table, int64_t rows) {
  const int64_t V = table.dim(0), C = table.dim(1), piece = 4096;
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

}  // namespace

AssembledLlava assemble_llava(const std::string& decoder, const std::string& tower_given, const AssembleSettings& s) {
  const std::string path = decoder + "/config.json", text = read_file(path);
  REQUIRE(UsageError, !is_llava_config(text, path), "[assemble] ", decoder, " sees already: its config.json has a vision tower");
  const DecoderConfig described = decoder_config_from_hf(text, path);
  const std::string tower = tower_directory(tower_given);
  require_layout(s, described, read_vision_config(tower));
  const Decoder words = open_decoder(decoder);
  const OpenVisionTower eyes = open_vision_tower(tower);
  const VisionConfig& vision = eyes.tower->config();

  const bool hf = s.layout == "hf";
  const std::string tower_path = tower + "/config.json";
  const bool grows = hf && s.image_token == described.vocabulary;
  const int64_t rows = grows ? (described.vocabulary / 64 + 1) * 64 : described.vocabulary;
  Json own = parse_hf_object(text, path);
  if (grows) { own["vocab_size"] = rows; }
  const Json seen = vision_part(parse_hf_object(read_file(tower_path), tower_path), vision);
  AssembledLlava out;
  out.config = (hf ? transformers_config(own, seen, s, described, vision) : named_config(own, s, described, vision)).dump(2) + "\n";
  const LlavaConfig config = llava_config_from_hf(out.config, path, vision);

  const WeightFiles files = WeightFiles::open(decoder);
  const std::string prefix = hf ? "language_model." : "";
  const std::set<std::string> tables = {hf_tensors_of(described, "embedding.weight")[0].name, hf_tensors_of(described, "head.weight")[0].name};
  for (const auto& [name, shape] : wanted_tensors(words.parameters(), [&](const std::string& p) { return hf_tensors_of(described, p); })) {
    out.tensors.emplace_back(prefix + name, grows && tables.count(name) ? grown(files.load(name), rows) : files.load(name));
  }
  ParameterStore store(s.seed);
  make_projector(Scope(store) / "projector", config);
  const NamedTensors projector = hf_tensors(store, [&](const std::string& p) { return hf_llava_tensors(config, p); }, DType::f32);
  out.tensors.insert(out.tensors.end(), projector.begin(), projector.end());
  for (auto& [name, tensor] : tower_tensors(eyes, tower, hf)) {
    if (hf) { out.tensors.emplace_back("vision_tower." + name, tensor); }
    else { out.tower.emplace_back(name, tensor); }
  }
  if (!hf) { out.tower_config = seen.dump(2) + "\n"; }
  return out;
}

}  // namespace pumice
