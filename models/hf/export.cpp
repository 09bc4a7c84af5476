#include "pumice/models/hf/export.h"

#include <set>

#include "pumice/models/hf/config.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/hf/projector.h"
#include "pumice/models/hf/vision.h"
#include "pumice/models/hf/weights.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

// A model that sees and its tower, as they lie on disk.
struct Source {
  std::string path, text;       // config.json
  std::string tower;            // the tower's directory, "" where there is none
  std::string tower_inside;     // the same relative to the model, where it lies in it
  LlavaConfig config;
  WeightFiles files;
  bool whole;                   // `files` hold the tower
  NamedTensors eyes;            // of the tower, by their names in a directory of its own
  std::string eyes_config;      // its config.json

  Source(const std::string& directory, const std::string& tower_given)
      : path(directory + "/config.json"), text(read_file(path)), tower(tower_given),
        tower_inside(tower_given.empty() ? pumice::tower_inside(directory) : ""), config(read_llava_config(directory, tower)),
        files(WeightFiles::open(directory)), whole(holds_tower(config, files)),
        eyes(whole ? tower_tensors(config.vision, files, tower_prefix_of(config)) : tower_tensors(config.vision, WeightFiles::open(tower), "")) {
    const std::string described = config.layout == "hf" ? path : tower.empty() ? "" : tower + "/config.json";
    eyes_config = described.empty() ? tower_config_of(config.vision, eyes) : tower_part(read_file(described), described, config.vision, eyes);
  }
};

// config.json in the layout of `to`, whose vocabulary it has.
std::string new_config(const Source& from, const LlavaConfig& to, int32_t image_token) {
  nlohmann::json decoder = parse_hf_object(decoder_part(from.text, from.path), from.path);
  decoder["vocab_size"] = to.text.vocabulary;
  const nlohmann::json value = parse_hf_object(from.text, from.path);
  const Fields f(value, from.path);
  const std::string named = from.config.layout == "hf" ? kTowerInside : f.text("mm_image_tower", f.text("mm_vision_tower", ""));
  return llava_config_to_hf(to, {.decoder = decoder.dump(), .tower = from.eyes_config, .tower_name = named, .image_token = image_token,
                                 .image_aspect_ratio = f.text("image_aspect_ratio", "")});
}

}  // namespace

LlavaFiles export_llava(const std::string& directory, const std::string& tower, const ExportSettings& s) {
  const Llava model = open_llava(directory, tower);
  Source from(directory, tower);
  LlavaConfig to = from.config;
  if (!s.layout.empty()) { to.layout = s.layout; }
  const bool same = to.layout == from.config.layout, hf = to.layout == "hf";
  LlavaFiles out{.config = from.text, .tower_read = from.tower};
  if (!same) {
    require_describable(to, s.image_token);
    if (hf) { to.text.vocabulary = rows_with_image_token(to.text.vocabulary, s.image_token); }
    out.config = new_config(from, to, s.image_token);
  }
  if (s.dtype) {
    out.config = with_dtype(out.config, from.path, *s.dtype);
    if (!from.config.vision.run) { from.eyes_config = with_dtype(from.eyes_config, from.path, *s.dtype); }
  }
  std::set<std::string> written;
  for (const auto& p : model.parameters().all()) {
    if (p->name().starts_with("vision.")) { continue; }
    const std::vector<HfTensor> source = hf_llava_tensors(from.config, p->name()), target = hf_llava_tensors(to, p->name());
    const bool table = p->name() == "embedding.weight" || p->name() == "head.weight";
    for (size_t i = 0; i < source.size(); ++i) {
      if (!written.insert(target[i].name).second) { continue; }  // one tensor of several parameters
      const Tensor t = from.files.load(source[i].name);
      out.tensors.emplace_back(target[i].name, table ? with_rows(t, to.text.vocabulary) : t);
    }
  }
  const bool out_of_hf = !same && from.config.layout == "hf";
  if (hf || (from.whole && !out_of_hf)) {
    for (const auto& [name, tensor] : from.eyes) { out.tensors.emplace_back(tower_prefix_of(to) + name, tensor); }
  }
  if (out_of_hf || (!hf && !from.tower_inside.empty())) {
    if (!from.tower_inside.empty()) { out.tower_place = from.tower_inside; }
    out.tower_config = from.eyes_config;
    if (out_of_hf || !from.whole) { out.tower = std::move(from.eyes); }
  }
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

NamedTensors export_projector(const std::string& path, const std::string& layout) {
  const ProjectorWeights projector = read_projector(path);
  LlavaConfig to;
  to.layout = layout;
  to.projector_layers = projector.layers;
  require_projector(to);
  NamedTensors all;
  for (const ProjectorWeights::Part& part : projector.parts) {
    all.emplace_back(layout.empty() ? part.name : hf_llava_tensors(to, part.parameter)[0].name, part.value);
  }
  return all;
}

}  // namespace pumice
