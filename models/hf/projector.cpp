#include "pumice/models/hf/projector.h"

#include <filesystem>
#include <map>
#include <optional>

#include "pumice/tensor/error.h"
#include "pumice/tensor/weight_files.h"

namespace pumice {
namespace {

// What stands behind the last `part` of a name, where it begins one of the name's words; nothing elsewhere.
std::optional<std::string> behind(const std::string& name, const std::string& part) {
  const size_t at = name.rfind(part);
  if (at == std::string::npos || (at > 0 && name[at - 1] != '.')) { return {}; }
  return name.substr(at + part.size());
}

// Of "2.weight": 2 and "weight"; of "weight", without a number, 0. -1 for anything else.
std::pair<int64_t, std::string> numbered(std::string text) {
  int64_t number = 0;
  if (const size_t dot = text.find('.'); dot != std::string::npos && dot >= 1 && dot <= 3 && text.find_first_not_of("0123456789") == dot) {
    number = std::stoll(text.substr(0, dot));
    text = text.substr(dot + 1);
  }
  return {text == "weight" || text == "bias" ? number : -1, text};
}

// The place of a layer among linear layers with gelu between them (0, 2, ...), and "weight" or "bias"; -1 for a tensor that is none of a projector's.
std::pair<int64_t, std::string> place_of(const std::string& tensor) {
  if (const auto transformers = behind(tensor, "multi_modal_projector.linear_")) {
    const auto [number, kind] = numbered(*transformers);
    return {number < 1 ? -1 : 2 * (number - 1), kind};
  }
  std::optional<std::string> llava = behind(tensor, "mm_projector.");
  if (!llava) { return {-1, ""}; }
  const std::string inner = "image_spatial_proj.";
  return numbered(llava->rfind(inner, 0) == 0 ? llava->substr(inner.size()) : *llava);
}

std::string file_of(const std::string& path) {
  namespace fs = std::filesystem;
  for (const char* name : {kProjectorFile, "mm_projector.bin"}) {
    if (fs::is_regular_file(fs::path(path) / name)) { return (fs::path(path) / name).string(); }
  }
  return path;
}

}  // namespace

ProjectorWeights read_projector(const std::string& path) {
  const std::string file = file_of(path);
  const WeightFiles weights = WeightFiles::open(file);
  std::map<std::pair<int64_t, std::string>, std::string> found;
  for (const std::string& name : weights.names()) {
    const auto place = place_of(name);
    if (place.first < 0) { continue; }
    const auto [at, added] = found.emplace(place, name);
    REQUIRE(FormatError, added, file, ": '", at->second, "' and '", name, "' are the same part of a projector");
  }
  REQUIRE(FormatError, !found.empty(), file, ": there is no projector in it; its tensors would be called ...mm_projector.0.weight or "
          "multi_modal_projector.linear_1.weight");
  ProjectorWeights p;
  int64_t width = 0;
  for (int64_t layer = 0; size_t(2 * p.layers) < found.size(); ++p.layers, layer += 2) {
    for (const char* kind : {"weight", "bias"}) {
      const auto at = found.find({layer, kind});
      REQUIRE(FormatError, at != found.end(), file, ": the projector has ", found.size(), " tensors, but no ", kind, " of its linear layer ", p.layers + 1,
              "; a projector is linear or mlpNx_gelu, whose layers are called 0, 2, ...");
      const Tensor t = weights.load(at->second);
      const bool matrix = at->first.second == "weight";
      REQUIRE(FormatError, matrix ? t.rank() == 2 && (layer == 0 || t.dim(1) == width) : t.shape() == Shape{width}, file, ": '", at->second, "' is ",
              t.shape(), matrix ? " where (out, in) is required" : " where a bias is required", layer || !matrix ? concat_text(" of width ", width) : "");
      if (matrix) { width = t.dim(0); }
      p.parts.push_back({at->second, "projector." + std::to_string(layer) + "." + kind, t});
    }
  }
  return p;
}

}  // namespace pumice
