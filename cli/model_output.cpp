#include "pumice/cli/model_output.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "pumice/data/tokenizer.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/projector.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"

namespace pumice {

namespace fs = std::filesystem;

namespace {

constexpr const char* kStaging = ".partial-";  // and the number of the process

bool is_setting(const std::string& name) {
  static const std::set<std::string> names = {
      "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
      "merges.txt", "spiece.model", "bpe_simple_vocab_16e6.txt.gz", "generation_config.json", "preprocessor_config.json",
      "processor_config.json", "video_preprocessor_config.json", "chat_template.json", "chat_template.jinja"};
  return names.count(name) || name.ends_with(".tiktoken");
}

bool is_licence(const std::string& name) {
  static const std::set<std::string> names = {"LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt"};
  return names.count(name) > 0;
}

bool is_config_or_weights(const std::string& name) {
  static const std::set<std::string> names = {"config.json", "model.safetensors.index.json", "pytorch_model.bin.index.json", kProjectorFile, "mm_projector.bin"};
  return names.count(name) || (name.starts_with("model") && name.ends_with(".safetensors")) || (name.starts_with("pytorch_model") && name.ends_with(".bin"));
}

// From the root, without links, "." and ".." as far as it is there: fs::weakly_canonical() leaves a relative path that is not there as it is.
fs::path whole_path(const std::string& path) {
  const fs::path whole = fs::weakly_canonical(fs::absolute(path));
  return whole.has_filename() ? whole : whole.parent_path();
}

// Whether `inner` is `outer` or lies in it; both whole.
bool lies_in(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

bool is_of_a_process(const std::string& name, bool alive) {
  if (!name.starts_with(kStaging)) { return false; }
  const std::string number = name.substr(std::string(kStaging).size());
  if (number.empty() || number.size() > 9 || number.find_first_not_of("0123456789") != std::string::npos) { return false; }
  return (kill(pid_t(std::stol(number)), 0) == 0) == alive;
}

// A directory without what a command that was killed left in it.
bool is_empty(const std::string& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (!is_of_a_process(entry.path().filename().string(), false)) { return false; }
  }
  return true;
}

// The files of the model in `directory`, relative to `root`.
void list_model(const fs::path& root, const fs::path& directory, std::vector<fs::path>& files) {
  if (!fs::is_directory(root / directory) || fs::is_symlink(root / directory)) { return; }
  for (const auto& entry : fs::directory_iterator(root / directory)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_directory() && (is_setting(name) || is_config_or_weights(name))) { files.push_back(directory / name); }
  }
}

// Moves of files that are undone unless all succeed.
class Moves {
 public:
  ~Moves() {
    std::error_code ignored;
    for (auto move = done_.rbegin(); move != done_.rend(); ++move) { fs::rename(move->second, move->first, ignored); }
  }
  void move(const std::string& command, const fs::path& from, const fs::path& to) {
    std::error_code failed;
    fs::create_directories(to.parent_path(), failed);
    if (!failed) { fs::rename(from, to, failed); }
    REQUIRE(IoError, !failed, command, ": ", to.string(), " could not be put in place: ", failed.message());
    done_.emplace_back(from, to);
  }
  void keep() { done_.clear(); }

 private:
  std::vector<std::pair<fs::path, fs::path>> done_;
};

}  // namespace

ModelOutput::ModelOutput(std::string command, const std::string& out, bool overwrite, const std::vector<std::string>& read)
    : command_(std::move(command)), out_(out) {
  REQUIRE(UsageError, !out.empty(), command_, ": --out DIR is required");
  const fs::path to = whole_path(out);
  whole_ = to.string();
  for (const std::string& from : read) {
    if (from.empty()) { continue; }
    const fs::path model = whole_path(from);
    REQUIRE(UsageError, !lies_in(to, model), command_, ": --out must not be the model's own directory ", from, " or lie in it, got ", out);
    REQUIRE(UsageError, !lies_in(model, to), command_, ": ", from, ", which is read, lies in --out ", out, ": name another directory");
  }
  const bool there = fs::exists(out);
  REQUIRE(UsageError, overwrite || !there || (fs::is_directory(out) && is_empty(out)), command_, ": ", out,
          " is not empty; name another directory, or give --overwrite");
  for (fs::path p = to; !fs::exists(p) && p.has_relative_path(); p = p.parent_path()) { made_ = p.string(); }
  staging_ = out + "/" + kStaging + std::to_string(getpid());
  std::error_code failed;
  fs::create_directories(staging_, failed);
  REQUIRE(IoError, !failed, command_, ": the directory ", out, " cannot be written: ", failed.message());
  for (const auto& entry : fs::directory_iterator(out)) {
    if (is_of_a_process(entry.path().filename().string(), false)) { fs::remove_all(entry.path(), failed); }
  }
}

ModelOutput::~ModelOutput() {
  std::error_code ignored;
  fs::remove_all(staging_, ignored);
  if (made_.empty()) { return; }
  for (fs::path p = whole_; p.has_relative_path(); p = p.parent_path()) {  // stay when there is something in them
    if (!fs::remove(p, ignored) || p.string() == made_) { return; }
  }
}

void ModelOutput::commit() {
  const fs::path out(out_), staging(staging_), old = staging / "replaced";
  std::vector<fs::path> files;
  std::set<fs::path> directories = {""};
  for (const auto& entry : fs::recursive_directory_iterator(staging)) {
    const fs::path name = fs::relative(entry.path(), staging);
    if (entry.is_directory()) { directories.insert(name); }
    else { files.push_back(name); }
  }
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return std::pair(a == "config.json", a) < std::pair(b == "config.json", b);  // last: with it the directory is a model
  });
  if (const std::string tower = tower_inside(out_); !tower.empty()) { directories.insert(tower); }
  std::vector<fs::path> replaced;
  for (const fs::path& directory : directories) {
    if (!directory.empty() && fs::is_symlink(out / directory)) { replaced.push_back(directory); }  // the link, not what it leads to
    else { list_model(out, directory, replaced); }
  }
  Moves moves;
  for (const fs::path& file : replaced) { moves.move(command_, out / file, old / file); }
  for (const fs::path& file : files) {
    REQUIRE(IoError, !fs::is_directory(out / file), command_, ": ", (out / file).string(), " could not be put in place: a directory has its name");
    if (fs::exists(fs::symlink_status(out / file))) { moves.move(command_, out / file, old / file); }  // a licence
    moves.move(command_, staging / file, out / file);
  }
  moves.keep();
  made_.clear();
}

namespace {

void copy(const fs::path& file, const std::string& to) {
  std::error_code failed;
  fs::create_directories(to, failed);
  fs::copy_file(file, fs::path(to) / file.filename(), fs::copy_options::overwrite_existing, failed);
  REQUIRE(IoError, !failed, file.string(), " could not be copied into ", to, ": ", failed.message());
}

}  // namespace

void copy_companions(const std::string& from, const std::string& to) {
  const std::string config = from + "/config.json";
  const bool runs_python = fs::is_regular_file(config) && parse_json_or_discard(read_file(config)).contains("auto_map");
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    const bool belongs = is_setting(name) || is_licence(name) || (runs_python && name.ends_with(".py"));
    if (belongs && entry.is_regular_file()) { copy(entry.path(), to); }
  }
}

void copy_preprocessor(const std::string& from, const std::string& to) {
  const fs::path file = fs::path(from) / "preprocessor_config.json";
  if (fs::is_regular_file(file)) { copy(file, to); }
}

void write_llava(const std::string& to, const LlavaFiles& model, const std::string& tower, const WeightWriterOptions& options) {
  write_weights(to, model.tensors, options);
  if (!model.tower_config.empty()) {
    const std::string inside = (fs::path(to) / model.tower_place).string();
    fs::create_directories(inside);
    if (!tower.empty()) { copy_companions(tower, inside); }
    if (!model.tower.empty()) { write_weights(inside, model.tower, options); }
    write_file_atomic(inside + "/config.json", model.tower_config);
  }
  write_file_atomic(to + "/config.json", model.config);
}

int32_t image_token_of(const std::string& decoder) {
  const Tokenizer tokenizer = Tokenizer::load(decoder);
  return tokenizer.id_of("<image>").value_or(int32_t(tokenizer.vocab_size()));
}

}  // namespace pumice
