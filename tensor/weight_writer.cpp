#include "pumice/tensor/weight_writer.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;

using Named = std::pair<std::string, Tensor>;

constexpr const char* kWhole = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

uint64_t written_bytes(const Tensor& t, const WeightWriterOptions& o) { return uint64_t(t.size() * size_of(written_dtype(t, o.dtype))); }

std::vector<std::vector<Named>> shards_of(const std::vector<Named>& tensors, const WeightWriterOptions& o) {
  std::vector<std::vector<Named>> shards(1);
  uint64_t filled = 0;
  for (const Named& named : tensors) {
    const uint64_t bytes = written_bytes(named.second, o);
    if (!shards.back().empty() && filled + bytes > o.max_shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(named);
    filled += bytes;
  }
  return shards;
}

std::string shard_name(size_t i, size_t of) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, of);
  return name;
}

// "model-00001-of-00002.safetensors", as shard_name makes them.
bool is_shard_name(const std::string& name) {
  size_t i = 0, of = 0;
  return std::sscanf(name.c_str(), "model-%5zu-of-%5zu", &i, &of) == 2 && i > 0 && name == shard_name(i - 1, of);
}

std::string index_text(const std::vector<std::vector<Named>>& shards, const std::vector<std::string>& names, const WeightWriterOptions& o) {
  nlohmann::ordered_json map = nlohmann::ordered_json::object();
  uint64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const Named& named : shards[i]) {
      map[named.first] = names[i];
      total += written_bytes(named.second, o);
    }
  }
  return nlohmann::ordered_json{{"metadata", {{"total_size", total}}}, {"weight_map", map}}.dump(2) + "\n";
}

// Files of an earlier save in the directory.
std::vector<std::string> weight_names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name == kWhole || name == kIndex || is_shard_name(name)) { names.push_back(name); }
  }
  return names;
}

}  // namespace

std::vector<std::string> write_weights(const std::string& directory, const std::vector<Named>& tensors, const WeightWriterOptions& options) {
  REQUIRE(UsageError, !tensors.empty(), "[weights] ", directory, ": at least one tensor is required");
  REQUIRE(UsageError, options.max_shard_bytes > 0, "[weights] ", directory, ": a shard must hold at least one byte, the limit is 0");
  REQUIRE(IoError, fs::is_directory(directory), "[weights] ", directory, " is no directory: make it first");
  std::set<std::string> all;
  for (const Named& named : tensors) {
    REQUIRE(UsageError, all.insert(named.first).second, "[weights] ", directory, ": the name '", named.first, "' is given twice");
  }
  const std::vector<std::vector<Named>> shards = shards_of(tensors, options);
  std::vector<std::string> names;
  std::vector<std::unique_ptr<AtomicFile>> files;
  auto begin_file = [&](const std::string& name) -> AtomicFile& {
    names.push_back(name);
    files.push_back(std::make_unique<AtomicFile>(directory + "/" + name));
    return *files.back();
  };
  for (size_t i = 0; i < shards.size(); ++i) {
    write_safetensors(begin_file(shards.size() == 1 ? kWhole : shard_name(i, shards.size())), directory, shards[i], options.metadata,
                      options.dtype);
  }
  if (shards.size() > 1) {
    const std::string text = index_text(shards, names, options);
    begin_file(kIndex).write(text);
  }
  std::vector<std::string> old = weight_names_in(directory);
  if (shards.size() > 1) {
    fs::remove(directory + "/" + kIndex);
    fs::remove(directory + "/" + kWhole);  // readers would take it in place of the shards
  }
  for (auto& file : files) { file->commit(); }
  for (const std::string& name : old) {
    if (std::find(names.begin(), names.end(), name) == names.end()) { fs::remove(directory + "/" + name); }
  }
  return names;
}

}  // namespace pumice
