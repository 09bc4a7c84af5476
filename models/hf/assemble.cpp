#include "pumice/models/hf/assemble.h"

#include <set>

#include "pumice/models/hf/config.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/hf/projector.h"
#include "pumice/models/hf/vision.h"
#include "pumice/models/hf/weights.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

LlavaConfig described(const AssembleSettings& s, const DecoderConfig& text, const VisionConfig& vision, int64_t layers) {
  LlavaConfig c{.vision = vision, .text = text, .layout = s.layout, .projector_layers = layers, .vision_layer = s.vision_layer};
  c.drop_first = vision.family != "siglip";  // "patch" would lose the first one
  REQUIRE(UsageError, s.vision_layer >= -vision.layers - 1 && s.vision_layer <= vision.layers, "[assemble] the tower has layers 0 to ",
          vision.layers, " or -", vision.layers + 1, " to -1, got ", s.vision_layer);
  require_describable(c, s.image_token);
  return c;
}

int64_t layers_of(const AssembleSettings& s, const ProjectorWeights& given) {
  if (s.projector.empty()) { return given.layers ? given.layers : 2; }
  const int64_t layers = projector_layers_of(s.projector);
  REQUIRE(UsageError, layers > 0, "[assemble] the projector must be linear or mlpNx_gelu, such as mlp2x_gelu, got '", s.projector, "'");
  REQUIRE(UsageError, !given.layers || layers == given.layers, "[assemble] the projector of ", s.projector_weights, " has ", given.layers,
          " linear layers, not those of ", s.projector);
  return layers;
}

// Under the names of the layout.
NamedTensors projector_tensors(const LlavaConfig& c, const AssembleSettings& s, const ProjectorWeights& given) {
  const Locate locate = [&](const std::string& parameter) { return hf_llava_tensors(c, parameter); };
  ParameterStore drawn(s.seed);
  make_projector(Scope(drawn) / "projector", c);
  if (!given.layers) { return hf_tensors(drawn, locate, DType::f32); }
  NamedTensors all;
  for (const auto& [name, parameter, tensor] : given.parts) {
    const Shape want = drawn.find(parameter)->shape();
    REQUIRE(FormatError, tensor.shape() == want, s.projector_weights, ": '", name, "' is ", tensor.shape(), ", but between this tower of width ",
            c.vision.width, " and this decoder of width ", c.text.width, " it must be ", want);
    all.emplace_back(locate(parameter)[0].name, tensor);
  }
  return all;
}

}  // namespace

LlavaFiles assemble_llava(const std::string& decoder, const std::string& tower_given, const AssembleSettings& s) {
  const std::string path = decoder + "/config.json", text = read_file(path);
  REQUIRE(UsageError, !is_llava_config(text, path), "[assemble] ", decoder, " sees already: its config.json has a vision tower");
  const ProjectorWeights given = s.projector_weights.empty() ? ProjectorWeights() : read_projector(s.projector_weights);
  const int64_t layers = layers_of(s, given);
  const DecoderConfig own = decoder_config_from_hf(text, path);
  const std::string tower = tower_directory(tower_given), tower_path = tower + "/config.json";
  described(s, own, read_vision_config(tower), layers);  // before anything is opened
  const Decoder words = open_decoder(decoder);
  const OpenVisionTower eyes = open_vision_tower(tower);
  LlavaConfig c = described(s, own, eyes.tower->config(), layers);

  const bool hf = s.layout == "hf";
  const int64_t rows = hf ? rows_with_image_token(own.vocabulary, s.image_token) : own.vocabulary;
  nlohmann::json decoder_config = parse_hf_object(text, path);
  if (rows > own.vocabulary) { decoder_config["vocab_size"] = c.text.vocabulary = rows; }
  LlavaFiles out{.tower_read = tower};
  NamedTensors pieces = tower_tensors(c.vision, WeightFiles::open(tower), "");
  const std::string seen = tower_part(read_file(tower_path), tower_path, c.vision, pieces);
  out.config = llava_config_to_hf(c, {.decoder = decoder_config.dump(), .tower = seen, .tower_name = kTowerInside, .image_token = s.image_token,
                                      .image_aspect_ratio = hf ? "" : "pad"});

  const WeightFiles files = WeightFiles::open(decoder);
  const std::string prefix = hf ? "language_model." : "";
  const std::set<std::string> tables = {hf_tensors_of(own, "embedding.weight")[0].name, hf_tensors_of(own, "head.weight")[0].name};
  for (const auto& [name, shape] : wanted_tensors(words.parameters(), [&](const std::string& p) { return hf_tensors_of(own, p); })) {
    out.tensors.emplace_back(prefix + name, tables.count(name) ? with_rows(files.load(name), rows) : files.load(name));
  }
  const NamedTensors projector = projector_tensors(c, s, given);
  out.tensors.insert(out.tensors.end(), projector.begin(), projector.end());
  if (!hf) {
    out.tower_config = seen;
    out.tower = std::move(pieces);
    return out;
  }
  for (const auto& [name, tensor] : pieces) { out.tensors.emplace_back(tower_prefix_of(c) + name, tensor); }
  return out;
}

}  // namespace pumice
