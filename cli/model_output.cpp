#include "pumice/cli/model_output.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {

namespace fs = std::filesystem;

namespace {

bool is_companion(const std::string& name) {
  static const std::vector<std::string> names = {
      "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
      "merges.txt", "spiece.model", "bpe_simple_vocab_16e6.txt.gz", "generation_config.json", "preprocessor_config.json",
      "processor_config.json", "video_preprocessor_config.json", "chat_template.json", "chat_template.jinja",
      "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt"};
  return std::find(names.begin(), names.end(), name) != names.end() || fs::path(name).extension() == ".tiktoken";
}

bool is_config_or_weights(const std::string& name) {
  const auto begins = [&](const std::string& with) { return name.rfind(with, 0) == 0; };
  const std::string extension = fs::path(name).extension().string();
  const bool weights = (begins("model") && extension == ".safetensors") || (begins("pytorch_model") && extension == ".bin");
  return weights || name == "config.json" || name == "model.safetensors.index.json" || name == "pytorch_model.bin.index.json";
}

// Whether `inner` is `outer` or lies in it; both canonical.
bool lies_in(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

// The directories inside of a model that its config.json names as its vision tower.
std::vector<fs::path> towers_inside(const std::string& model) {
  std::vector<fs::path> towers;
  if (!fs::is_regular_file(fs::path(model) / "config.json")) { return towers; }
  const nlohmann::json value = nlohmann::json::parse(read_file(model + "/config.json"), nullptr, false);
  for (const char* field : {"mm_image_tower", "mm_vision_tower"}) {
    if (!value.is_object() || !value.contains(field) || !value[field].is_string()) { continue; }
    const fs::path tower = fs::path(value[field].get<std::string>()).lexically_normal();
    const bool inside = !tower.empty() && tower.is_relative() && *tower.begin() != ".." && *tower.begin() != ".";
    if (inside && fs::is_directory(fs::path(model) / tower)) { towers.push_back(tower); }
  }
  return towers;
}

void remove_model(const char* command, const std::string& directory) {
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && (is_companion(name) || is_config_or_weights(name))) { old.push_back(entry.path()); }
  }
  for (const fs::path& file : old) {
    std::error_code failed;
    fs::remove(file, failed);
    REQUIRE(IoError, !failed, command, ": ", file.string(), " could not be removed: ", failed.message());
  }
}

}  // namespace

void make_output(const char* command, const std::string& out, bool overwrite, const std::vector<std::string>& from) {
  REQUIRE(UsageError, !out.empty(), command, ": --out DIR is required");
  for (const std::string& read : from) {
    const fs::path to = fs::weakly_canonical(out), model = fs::weakly_canonical(read);
    REQUIRE(UsageError, !lies_in(to, model), command, ": --out must not be the model's own directory ", read, " or lie in it, got ", out);
    REQUIRE(UsageError, !lies_in(model, to), command, ": ", read, ", which is read, lies in --out ", out, ": name another directory");
  }
  REQUIRE(UsageError, overwrite || !fs::exists(out) || fs::is_empty(out), command, ": ", out,
          " is not empty; name another directory, or give --overwrite");
  std::error_code failed;
  fs::create_directories(out, failed);
  REQUIRE(IoError, !failed, command, ": the directory ", out, " could not be made: ", failed.message());
  for (const fs::path& tower : towers_inside(out)) { remove_model(command, fs::path(out) / tower); }
  remove_model(command, out);
}

void copy_companions(const std::string& from, const std::string& to) {
  const auto copy = [&](const fs::path& name) {
    std::error_code failed;
    fs::create_directories((fs::path(to) / name).parent_path(), failed);
    fs::copy(fs::path(from) / name, fs::path(to) / name, fs::copy_options::recursive | fs::copy_options::overwrite_existing, failed);
    REQUIRE(IoError, !failed, (fs::path(from) / name).string(), " could not be copied into ", to, ": ", failed.message());
  };
  for (const auto& entry : fs::directory_iterator(from)) {
    if (const fs::path name = entry.path().filename(); entry.is_regular_file() && is_companion(name.string())) { copy(name); }
  }
  for (const fs::path& tower : towers_inside(from)) { copy(tower); }
}

}  // namespace pumice
