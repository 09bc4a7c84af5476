#include "pumice/tensor/weight_files.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/file_kind.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/tensor/json.h"
#include "pumice/tensor/suggest.h"
#include "pumice/tensor/torch_file.h"

namespace pumice {

// One open file of either format.
class WeightShard {
 public:
  virtual ~WeightShard() = default;
  virtual WeightFile file() const = 0;
  virtual std::vector<WeightInfo> tensors() const = 0;
  virtual Tensor load(size_t i) const = 0;  // the i-th of tensors()
};

namespace {

namespace fs = std::filesystem;

constexpr const char* kDirectoryNames[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                           "pytorch_model.bin.index.json"};

bool ends_with(std::string_view text, std::string_view end) { return text.size() >= end.size() && text.substr(text.size() - end.size()) == end; }

// The names in a directory that look like weights, for the message that none has a usual one.
std::vector<std::string> weight_like_names(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    for (const char* end : {".safetensors", ".bin", ".pt", ".pth", ".index.json", ".h5", ".msgpack", ".gguf", ".onnx"}) {
      if (ends_with(name, end)) { names.push_back(name); }
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The file in the directory that says where the weights are.
std::string find_in_directory(const std::string& directory) {
  for (const char* name : kDirectoryNames) {
    if (fs::exists(directory + "/" + name)) { return directory + "/" + name; }
  }
  std::vector<std::string> found = weight_like_names(directory);
  for (const std::string& name : found) {
    const size_t part = name.find("-00001-of-");
    if (part == std::string::npos) { continue; }
    const std::string index = name.substr(0, part) + name.substr(name.rfind('.')) + ".index.json";
    throw FormatError(concat_text("[weights] ", directory, ": '", name, "' is the first of several shards, but their index '", index,
                                  "' is missing: download it too"), __FILE__, __LINE__);
  }
  std::string held = "no file of weights";
  if (!found.empty()) {
    const size_t count = found.size();
    found.resize(std::min<size_t>(count, 8));
    held = join(found) + (count > 8 ? concat_text(" and ", count - 8, " more") : "") + ": give the path of the one that is meant";
  }
  const std::string usual = join({std::begin(kDirectoryNames), std::end(kDirectoryNames)});
  throw FormatError(concat_text("[weights] ", directory, " must hold ", usual, "; it holds ", held), __FILE__, __LINE__);
}

// What to do about a file that is something else.
std::string advice_for(const std::string& kind, std::string_view bytes) {
  if (kind == "a web page") { return "a web page: download the file itself (on Hugging Face /resolve/ in place of /blob/ in the address)"; }
  if (kind == "gzip-compressed") { return "gzip-compressed: unpack it with gunzip"; }
  if (kind == "a tar archive") { return "a tar archive: unpack it and give the file or directory in it"; }
  if (!kind.empty()) { return kind; }
  if (bytes.find_first_not_of('\0') == std::string_view::npos) { return "made of zeros: a download that was begun and not finished?"; }
  if (bytes[0] == '{') { return "JSON text; only an index, whose name ends in .index.json, is one"; }
  return "neither, from its first bytes";
}

class SafetensorsShard : public WeightShard {
 public:
  explicit SafetensorsShard(const std::string& path) : path_(path), file_(SafetensorsFile::open(path)) {}
  WeightFile file() const override { return {path_, "safetensors", "", fs::file_size(path_)}; }
  std::vector<WeightInfo> tensors() const override {
    std::vector<WeightInfo> all;
    for (const SafetensorsEntry& e : file_.entries()) { all.push_back({e.name, e.dtype, e.shape, e.end - e.begin, 0}); }
    return all;
  }
  Tensor load(size_t i) const override { return file_.map(file_.entries()[i]); }

 private:
  std::string path_;
  SafetensorsFile file_;
};

class TorchShard : public WeightShard {
 public:
  explicit TorchShard(const std::string& path) : path_(path), file_(TorchFile::open(path)) {}
  WeightFile file() const override { return {path_, "torch", file_.found_under(), fs::file_size(path_)}; }
  std::vector<WeightInfo> tensors() const override {
    std::vector<WeightInfo> all;
    for (const TorchEntry& e : file_.entries()) {
      all.push_back({e.name, e.dtype, e.shape, uint64_t(e.shape.elements()) * uint64_t(bits_of_file_dtype(e.dtype)) / 8, 0});
    }
    return all;
  }
  Tensor load(size_t i) const override { return file_.load(file_.entries()[i]); }

 private:
  std::string path_;
  TorchFile file_;
};

}  // namespace

std::map<std::string, std::string> parse_weight_index(std::string_view text, const std::string& source) {
  using Json = nlohmann::json;
  Json j;
  const std::string kind = kind_of_file(text);
  REQUIRE(FormatError, kind.empty(), "[weights] ", source, ": an index in JSON is required, this is ", advice_for(kind, text));
  const std::string wrong = parse_strict_json(text, 8, j);
  REQUIRE(FormatError, wrong.empty(), "[weights] ", source, ": the index ", wrong);
  REQUIRE(FormatError, j.is_object() && j.contains("weight_map") && j["weight_map"].is_object(), "[weights] ", source,
          ": the index must be an object with the key 'weight_map', an object that names the file of each tensor");
  std::map<std::string, std::string> files;
  for (const auto& [name, value] : j["weight_map"].items()) {
    REQUIRE(FormatError, value.is_string(), "[weights] ", source, ": weight_map: the file of tensor '", name, "' must be a string, got ",
            value.type_name());
    const std::string file = value.get<std::string>();
    const bool plain = !file.empty() && file != "." && file != ".." && file.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
    REQUIRE(FormatError, plain, "[weights] ", source, ": weight_map: tensor '", name, "' is in file ", value.dump(),
            ", which is not the plain name of a file beside the index");
    files[name] = file;
  }
  return files;
}

WeightFiles WeightFiles::open(const std::string& path) {
  WeightFiles w;
  w.path_ = path;
  std::error_code ignored;
  const std::string file = fs::is_directory(path, ignored) ? find_in_directory(path) : path;
  if (!ends_with(file, ".index.json")) {
    w.add_shard(file);
    return w;
  }
  const std::map<std::string, std::string> index = parse_weight_index(read_file(file), file);
  REQUIRE(FormatError, !index.empty(), "[weights] ", file, ": the index names no tensor");
  std::map<std::string, int64_t> shards;
  for (const auto& [name, shard] : index) { ++shards[shard]; }
  const std::string directory = fs::path(file).parent_path().string();
  for (const auto& [shard, tensors] : shards) {
    const std::string at = directory.empty() ? shard : directory + "/" + shard;
    REQUIRE(FormatError, fs::is_regular_file(at, ignored), "[weights] ", file, ": shard '", shard, "', which holds ", tensors,
            " of its tensors, is not beside the index: download it too");
    w.add_shard(at);
  }
  w.check_index(file, index);
  return w;
}

void WeightFiles::add_shard(const std::string& path) {
  {
    const MappedFile file(path);
    const std::string_view bytes = file.bytes();
    // A header is shorter than 4 GiB, and its length may begin like the mark of another format.
    const bool safetensors = bytes.size() > 8 && bytes[8] == '{' && bytes.substr(4, 4) == std::string_view("\0\0\0\0", 4);
    const bool torch = !safetensors && (bytes.substr(0, 4) == "PK\x03\x04" || bytes.substr(0, 6) == "\x80\x02\x8a\x0a\x6c\xfc");
    REQUIRE(FormatError, torch || safetensors, "[weights] ", path, ": a safetensors file or one that torch.save writes is required, this is ",
            advice_for(kind_of_file(bytes), bytes.substr(0, 4096)));
    if (torch) { shards_.push_back(std::make_shared<TorchShard>(path)); }
    else { shards_.push_back(std::make_shared<SafetensorsShard>(path)); }
  }
  files_.push_back(shards_.back()->file());
  first_.push_back(all_.size());
  for (WeightInfo& info : shards_.back()->tensors()) {
    info.file = files_.size() - 1;
    const auto [at, fresh] = places_.emplace(info.name, all_.size());
    REQUIRE(FormatError, fresh, "[weights] tensor '", info.name, "' stands in two shards, ", files_[all_[at->second].file].path, " and ", path,
            ": files of two models in one directory?");
    all_.push_back(std::move(info));
  }
}

void WeightFiles::check_index(const std::string& path, const std::map<std::string, std::string>& index) const {
  for (const auto& [name, shard] : index) {
    const auto at = places_.find(name);
    const bool there = at != places_.end() && fs::path(files_[all_[at->second].file].path).filename() == shard;
    REQUIRE(FormatError, there, "[weights] ", path, ": tensor '", name, "' must be in shard '", shard,
            "', which lacks it: are index and shards of one version? Download them again together");
  }
}

std::vector<std::string> WeightFiles::names() const {
  std::vector<std::string> names;
  for (const WeightInfo& info : all_) { names.push_back(info.name); }
  return names;
}

const WeightInfo& WeightFiles::info(const std::string& name) const {
  const auto at = places_.find(name);
  REQUIRE(FormatError, at != places_.end(), "[weights] ", path_, " has no tensor '", name, "' among its ", all_.size(), ".",
          did_you_mean(name, names()));
  return all_[at->second];
}

Tensor WeightFiles::load(const std::string& name) const {
  const WeightInfo& wanted = info(name);
  return shards_[wanted.file]->load(size_t(&wanted - all_.data()) - first_[wanted.file]);
}

}  // namespace pumice
