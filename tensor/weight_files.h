// The weights of a model as people have them: one view over a directory or a file.
//   model.safetensors | model.safetensors.index.json and its shards | pytorch_model.bin | pytorch_model.bin.index.json and its shards
//   (a directory is searched in this order, as Transformers does), or the path of one .safetensors, .bin, .pt, .pth or index file
//
//   WeightFiles weights = WeightFiles::open("MoE-LLaVA-Phi2-2.7B-4e");
//   Tensor w = weights.load("model.embed_tokens.weight");
//
// What a file is, is told by its content. Opening maps the files and reads their headers; no tensor is touched before it is loaded.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

struct WeightInfo {
  std::string name, dtype;  // dtype as safetensors spells it: "F32", "BF16", "I64", ...
  Shape shape;
  uint64_t bytes = 0;       // of its elements, packed
  size_t file = 0;          // its place in WeightFiles::files()
};

struct WeightFile {
  std::string path;
  std::string format;       // "safetensors" or "torch"
  std::string found_under;  // torch: the keys that led to the state dict, "" for none
  uint64_t bytes = 0;       // of the file
};

class WeightFiles {
 public:
  // Throws IoError when nothing is there, and FormatError, naming the file and what to do, for a directory without weights, an index
  // that names a file outside its directory or one that is missing, a tensor that its shard lacks or that two shards have, and a file
  // that is something else (a git-lfs pointer, a web page, a part of a download).
  static WeightFiles open(const std::string& path);

  const std::vector<WeightInfo>& all() const { return all_; }  // file by file, in each in its order
  const std::vector<WeightFile>& files() const { return files_; }
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const { return places_.count(name) > 0; }
  const WeightInfo& info(const std::string& name) const;  // throws FormatError if there is none
  // On the CPU, packed; it shares the mapping of its file and keeps it alive (mapped_tensor.h). Throws DTypeError for a dtype that
  // Tensor does not have.
  Tensor load(const std::string& name) const;

 private:
  void add_shard(const std::string& path);
  void check_index(const std::string& path, const std::map<std::string, std::string>& index) const;

  std::string path_;
  std::vector<WeightInfo> all_;
  std::vector<WeightFile> files_;
  std::vector<std::shared_ptr<class WeightShard>> shards_;  // one for each of files_
  std::vector<size_t> first_;                               // the place in all_ of its first tensor
  std::unordered_map<std::string, size_t> places_;          // in all_
};

// {"weight_map": {tensor: file, ...}, "metadata": ...} -> file of each tensor. Files are plain names. Throws FormatError naming `source`.
std::map<std::string, std::string> parse_weight_index(std::string_view text, const std::string& source);

}  // namespace pumice
