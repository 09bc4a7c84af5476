#include "pumice/models/hf/export.h"

#include <algorithm>
#include <set>

#include "pumice/models/hf/config.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/hf/vision.h"
#include "pumice/models/hf/weights.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

bool starts_with(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }

// A model that sees and its tower, as they lie on disk.
struct Source {
  std::string path, text;     // config.json
  std::string tower;          // the tower's directory, "" where there is none
  LlavaConfig config;
  WeightFiles files, eyes;    // `eyes` holds the tower; it is `files` where the checkpoint does
  bool inside;
  std::string prefix;         // before the tower's names in `eyes`

  Source(const std::string& directory, const std::string& tower_given)
      : path(directory + "/config.json"), text(read_file(path)), tower(tower_given), config(read_llava_config(directory, tower)),
        files(WeightFiles::open(directory)), eyes(files), inside(holds_tower(config, files)) {
    if (inside) { prefix = tower_prefix_of(config); }
    else { eyes = WeightFiles::open(tower); }
  }
};

NamedTensors tensors_of_tower(const Source& from) { return tower_tensors(from.config.vision, from.eyes, from.prefix); }

std::string config_of_tower(const Source& from, const NamedTensors& tensors) {
  if (from.config.layout == "hf") { return tower_part(from.text, from.path, from.config.vision, tensors); }
  if (from.tower.empty()) { return tower_config_of(from.config.vision, tensors); }
  const std::string path = from.tower + "/config.json";
  return tower_part(read_file(path), path, from.config.vision, tensors);
}

// config.json in the layout of `to`, whose vocabulary it has.
std::string new_config(const Source& from, const LlavaConfig& to, int32_t image_token) {
  nlohmann::json decoder = parse_hf_object(decoder_part(from.text, from.path), from.path);
  decoder["vocab_size"] = to.text.vocabulary;
  const nlohmann::json value = parse_hf_object(from.text, from.path);
  const Fields f(value, from.path);
  const std::string named = from.config.layout == "hf" ? kTowerInside : f.text("mm_image_tower", f.text("mm_vision_tower", ""));
  return llava_config_to_hf(to, {.decoder = decoder.dump(), .tower = to.layout == "hf" ? config_of_tower(from, tensors_of_tower(from)) : "", .tower_name = named,
                                 .image_token = image_token, .image_aspect_ratio = f.text("image_aspect_ratio", "")});
}

}  // namespace

LlavaFiles export_llava(const std::string& directory, const std::string& tower, const ExportSettings& s) {
  const Llava model = open_llava(directory, tower);
  const Source from(directory, tower);
  LlavaConfig to = from.config;
  if (!s.layout.empty()) { to.layout = s.layout; }
  const bool same = to.layout == from.config.layout, hf = to.layout == "hf", apart = !same && from.config.layout == "hf";
  LlavaFiles out{.config = from.text};
  if (!same) {
    require_describable(to, s.image_token);
    if (hf) { to.text.vocabulary = rows_with_image_token(to.text.vocabulary, s.image_token); }
    out.config = new_config(from, to, s.image_token);
  }
  std::set<std::string> written;
  for (const auto& p : model.parameters().all()) {
    if (starts_with(p->name(), "vision.")) { continue; }
    const std::vector<HfTensor> source = hf_llava_tensors(from.config, p->name()), target = hf_llava_tensors(to, p->name());
    const bool table = p->name() == "embedding.weight" || p->name() == "head.weight";
    for (size_t i = 0; i < source.size(); ++i) {
      if (!written.insert(target[i].name).second) { continue; }  // one tensor of several parameters
      const Tensor t = from.files.load(source[i].name);
      out.tensors.emplace_back(target[i].name, table ? with_rows(t, to.text.vocabulary) : t);
    }
  }
  if (!from.inside && !hf) { return out; }
  NamedTensors eyes = tensors_of_tower(from);
  if (apart) {
    out.tower_config = config_of_tower(from, eyes);
    out.tower = std::move(eyes);
    return out;
  }
  for (const auto& [name, tensor] : eyes) { out.tensors.emplace_back(tower_prefix_of(to) + name, tensor); }
  return out;
}

NamedTensors export_decoder(const std::string& directory) {
  const Decoder model = open_decoder(directory);
  const WeightFiles files = WeightFiles::open(directory);
  NamedTensors all;
  for (const auto& [name, shape] : wanted_tensors(model.parameters(), [&](const std::string& p) { return hf_tensors_of(model.config(), p); })) {
    all.emplace_back(name, files.load(name));
  }
  return all;
}

NamedTensors export_projector(const std::string& directory, const std::string& tower_given, const std::string& layout) {
  std::string tower = tower_given;
  const LlavaConfig from = read_llava_config(directory, tower);
  LlavaConfig to = from;
  if (!layout.empty()) { to.layout = layout; }
  REQUIRE(UsageError, to.layout != "hf" || to.projector_layers == 2, "[llava] Transformers' LLaVA has a projector of two linear layers, not of ",
          to.projector_layers, ": use the layout llava or moe_llava");
  const WeightFiles files = WeightFiles::open(directory);
  const auto store = ParameterStore::make_unfilled();
  make_projector(Scope(*store) / "projector", from);
  NamedTensors all;
  for (const auto& p : store->all()) {
    all.emplace_back(hf_llava_tensors(to, p->name())[0].name, files.load(hf_llava_tensors(from, p->name())[0].name));
  }
  return all;
}

}  // namespace pumice
