#include "pumice/data/coco.h"

#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file_kind.h"
#include "pumice/tensor/json.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

using Json = nlohmann::json;

// The text of element[key]. `where` is "train.json: images[3]".
std::string text_in(const Json& element, const char* key, const std::string& where) {
  REQUIRE(FormatError, element.is_object() && element.contains(key) && element[key].is_string(), "[coco] ", where, " needs a text \"", key, "\"");
  return element[key].get<std::string>();
}

int64_t integer_in(const Json& element, const char* key, const std::string& where) {
  REQUIRE(FormatError, element.is_object() && element.contains(key) && element[key].is_number_integer(), "[coco] ", where, " needs an integer \"",
          key, "\"");
  return element[key].get<int64_t>();
}

const Json& array_in(const Json& element, const char* key, const std::string& where) {
  REQUIRE(FormatError, element.is_object() && element.contains(key) && element[key].is_array(), "[coco] ", where, " needs a list \"", key, "\"");
  return element[key];
}

std::vector<CaptionedFile> parse_coco(const Json& json, const std::string& name) {
  std::vector<CaptionedFile> files;
  std::unordered_map<int64_t, size_t> place;
  const Json &images = array_in(json, "images", name), &annotations = array_in(json, "annotations", name);
  for (size_t i = 0; i < images.size(); ++i) {
    const std::string where = concat_text(name, ": images[", i, "]");
    const int64_t id = integer_in(images[i], "id", where);
    REQUIRE(FormatError, place.emplace(id, files.size()).second, "[coco] ", where, " has the id ", id, " of an earlier image");
    files.push_back({text_in(images[i], "file_name", where), {}});
  }
  for (size_t i = 0; i < annotations.size(); ++i) {
    const std::string where = concat_text(name, ": annotations[", i, "]");
    auto image = place.find(integer_in(annotations[i], "image_id", where));
    REQUIRE(FormatError, image != place.end(), "[coco] ", where, " belongs to the image ", annotations[i]["image_id"].get<int64_t>(),
            ", which \"images\" does not list");
    REQUIRE(FormatError, annotations[i].contains("caption"), "[coco] ", where,
            " has no \"caption\": is this an instances or keypoints file? captions_*.json is required");
    std::string caption = trimmed(text_in(annotations[i], "caption", where));
    if (!caption.empty()) { files[image->second].captions.push_back(std::move(caption)); }
  }
  return files;
}

std::vector<CaptionedFile> parse_karpathy(const Json& json, const std::string& name, const std::string& split) {
  std::vector<CaptionedFile> files;
  std::set<std::string> splits;
  const Json& images = json["images"];
  for (size_t i = 0; i < images.size(); ++i) {
    const std::string where = concat_text(name, ": images[", i, "]");
    const std::string own = text_in(images[i], "split", where);
    splits.insert(own);
    if (own != split && !(split == "train" && own == "restval")) { continue; }
    CaptionedFile file{text_in(images[i], "filename", where), {}};
    if (images[i].contains("filepath")) { file.file = text_in(images[i], "filepath", where) + "/" + file.file; }
    const Json& sentences = array_in(images[i], "sentences", where);
    for (size_t k = 0; k < sentences.size(); ++k) {
      std::string caption = trimmed(text_in(sentences[k], "raw", concat_text(where, ".sentences[", k, "]")));
      if (!caption.empty()) { file.captions.push_back(std::move(caption)); }
    }
    files.push_back(std::move(file));
  }
  REQUIRE(FormatError, !files.empty(), "[coco] ", name, " has no picture of the split '", split, "'; it has ",
          join({splits.begin(), splits.end()}));
  return files;
}

}  // namespace

std::vector<CaptionedFile> parse_caption_json(std::string_view text, const std::string& name, const std::string& split) {
  const std::string kind = kind_of_file(text);
  REQUIRE(FormatError, kind.empty(), "[coco] ", name, " is ", kind, "; captions as JSON are required");
  Json json;
  const std::string problem = parse_strict_json(text, 32, json);
  REQUIRE(FormatError, problem.empty(), "[coco] ", name, " ", problem);
  REQUIRE(FormatError, !json.is_array(), "[coco] ", name,
          " is a list; captions come as an object: COCO's (\"images\" and \"annotations\") or Karpathy's (\"images\" with "
          "\"sentences\"). LLaVA's lists of conversations are not pairs; pumice data check reads them");
  const Json& images = array_in(json, "images", name);
  const bool karpathy = !images.empty() && images[0].is_object() && images[0].contains("sentences");
  REQUIRE(FormatError, karpathy || json.contains("annotations"), "[coco] ", name,
          " is neither COCO captions (\"images\" and \"annotations\") nor Karpathy's dataset "
          "(\"images\" with \"sentences\")");
  std::vector<CaptionedFile> files = karpathy ? parse_karpathy(json, name, split) : parse_coco(json, name);
  std::erase_if(files, [](const CaptionedFile& f) { return f.captions.empty(); });
  REQUIRE(FormatError, !files.empty(), "[coco] ", name, " holds no picture with a caption");
  return files;
}

}  // namespace pumice
