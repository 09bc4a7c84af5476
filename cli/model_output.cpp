#include "pumice/cli/model_output.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pumice/data/tokenizer.h"
#include "pumice/models/hf/projector.h"
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
  return std::find(names.begin(), names.end(), name) != names.end() || fs::path(name).extension() == ".tiktoken" ||
         fs::path(name).extension() == ".py";  // what trust_remote_code runs
}

bool is_config_or_weights(const std::string& name) {
  const auto begins = [&](const std::string& with) { return name.rfind(with, 0) == 0; };
  const std::string extension = fs::path(name).extension().string();
  const bool weights = (begins("model") && extension == ".safetensors") || (begins("pytorch_model") && extension == ".bin");
  return weights || name == "config.json" || name == kProjectorFile || name == "mm_projector.bin" || name == "model.safetensors.index.json" || name == "pytorch_model.bin.index.json";
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

void remove_model(const std::string& command, const std::string& directory) {
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

ModelOutput::ModelOutput(std::string command, const std::string& out, bool overwrite, const std::vector<std::string>& from)
    : command_(std::move(command)), out_(out), staging_(out + "/.partial"), made_(!fs::exists(out)) {
  REQUIRE(UsageError, !out.empty(), command_, ": --out DIR is required");
  for (const std::string& read : from) {
    const fs::path to = fs::weakly_canonical(out), model = fs::weakly_canonical(read);
    REQUIRE(UsageError, !lies_in(to, model), command_, ": --out must not be the model's own directory ", read, " or lie in it, got ", out);
    REQUIRE(UsageError, !lies_in(model, to), command_, ": ", read, ", which is read, lies in --out ", out, ": name another directory");
  }
  REQUIRE(UsageError, overwrite || made_ || (fs::is_directory(out) && fs::is_empty(out)), command_, ": ", out,
          " is not empty; name another directory, or give --overwrite");
  std::error_code failed;
  fs::remove_all(staging_, failed);  // of a command that was killed
  fs::create_directories(staging_, failed);
  REQUIRE(IoError, !failed, command_, ": the directory ", out, " cannot be written: ", failed.message());
}

ModelOutput::~ModelOutput() {
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
  if (made_) { fs::remove(out_, ignored); }  // stays when there is something in it
}

void ModelOutput::commit() {
  for (const fs::path& tower : towers_inside(out_)) { remove_model(command_, (fs::path(out_) / tower).string()); }
  remove_model(command_, out_);
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(staging_)) {
    if (!entry.is_directory()) { files.push_back(fs::relative(entry.path(), staging_)); }
  }
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return std::pair(a == "config.json", a) < std::pair(b == "config.json", b);  // last: with it the directory is a model
  });
  for (const fs::path& file : files) {
    std::error_code failed;
    fs::create_directories((fs::path(out_) / file).parent_path(), failed);
    fs::rename(fs::path(staging_) / file, fs::path(out_) / file, failed);
    REQUIRE(IoError, !failed, command_, ": ", (fs::path(out_) / file).string(), " could not be put in place: ", failed.message());
  }
}

namespace {

void copy(const std::string& from, const std::string& to, const fs::path& name) {
  std::error_code failed;
  fs::create_directories((fs::path(to) / name).parent_path(), failed);
  fs::copy(fs::path(from) / name, fs::path(to) / name, fs::copy_options::recursive | fs::copy_options::overwrite_existing, failed);
  REQUIRE(IoError, !failed, (fs::path(from) / name).string(), " could not be copied into ", to, ": ", failed.message());
}

}  // namespace

void copy_companions(const std::string& from, const std::string& to) {
  for (const auto& entry : fs::directory_iterator(from)) {
    if (const fs::path name = entry.path().filename(); entry.is_regular_file() && is_companion(name.string())) { copy(from, to, name); }
  }
}

void copy_tower(const std::string& from, const std::string& to) {
  for (const fs::path& tower : towers_inside(from)) { copy(from, to, tower); }
}

void write_llava(const std::string& to, const LlavaFiles& model, const WeightWriterOptions& options) {
  write_weights(to, model.tensors, options);
  if (!model.tower.empty()) {
    const std::string inside = (fs::path(to) / kTowerInside).string();
    fs::create_directories(inside);
    write_weights(inside, model.tower, options);
    write_file_atomic(inside + "/config.json", model.tower_config);
  }
  write_file_atomic(to + "/config.json", model.config);
}

int32_t image_token_of(const std::string& decoder) {
  const Tokenizer tokenizer = Tokenizer::load(decoder);
  return tokenizer.id_of("<image>").value_or(int32_t(tokenizer.vocab_size()));
}

}  // namespace pumice
