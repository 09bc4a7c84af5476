#include "pumice/cli/prompts.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "pumice/data/text.h"
#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/file_kind.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int kDepth = 32;

PromptLine prompt_in_json(std::string_view line, const std::string& place, const fs::path& folder) {
  Json json;
  const std::string problem = parse_strict_json(line, kDepth, json);
  constexpr const char* kForm =
      "; in a .jsonl file every line is an object {\"prompt\": \"...\", \"image\": \"cat.png\"}, where \"image\" may be left out or be a list";
  REQUIRE(FormatError, problem.empty(), place, ": ", problem, kForm);
  REQUIRE(FormatError, json.is_object() && json.contains("prompt") && json["prompt"].is_string(), place, ": there is no text \"prompt\"", kForm);
  PromptLine p{.text = json["prompt"].get<std::string>(), .images = {}, .fields = std::string(line), .place = place};
  if (!json.contains("image") || json["image"].is_null()) { return p; }
  for (const Json& image : json["image"].is_array() ? json["image"] : Json::array({json["image"]})) {
    REQUIRE(FormatError, image.is_string(), place, ": \"image\" must be a path or a list of paths, got ", json["image"].dump());
    p.images.push_back(folder / image.get<std::string>());
    REQUIRE(IoError, fs::is_regular_file(p.images.back()), place, ": there is no picture ", p.images.back(),
            "; relative paths start beside the file");
  }
  return p;
}

PromptLine prompt_in_text(std::string_view line, const std::string& place) {
  REQUIRE(FormatError, valid_prefix(line) == line.size(), place, ": the line is not UTF-8 from its byte ", valid_prefix(line) + 1, " on");
  return {.text = std::string(line), .images = {}, .fields = Json{{"prompt", line}}.dump(), .place = place};
}

}  // namespace

std::vector<PromptLine> read_prompts(const std::string& path) {
  const std::string content = read_file(path);
  std::string_view text = content;
  if (text.starts_with("\xef\xbb\xbf")) { text.remove_prefix(3); }
  const std::string kind = kind_of_file(text);
  REQUIRE(FormatError, kind.empty(), path, " is ", kind,
          "; a text with one prompt a line, or objects {\"prompt\": \"...\"} in a .jsonl file, is required");
  const bool json = ascii_lower(fs::path(path).extension()) == ".jsonl";
  std::vector<PromptLine> prompts;
  each_line(text, [&](std::string_view line, size_t number) {
    const std::string place = concat_text(path, ":", number);
    REQUIRE(FormatError, line.find_first_not_of(" \t") != std::string_view::npos, place, ": the line is empty; each line is a prompt",
            json ? "" : ", and prompts of several lines go into a .jsonl file");
    prompts.push_back(json ? prompt_in_json(line, place, fs::path(path).parent_path()) : prompt_in_text(line, place));
  });
  return prompts;
}

}  // namespace pumice
