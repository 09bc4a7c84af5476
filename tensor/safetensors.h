// safetensors: named tensors in one file (github.com/huggingface/safetensors). u64 header length, JSON header, raw little-endian
// data. Reading maps the file and checks every rule of the format before any tensor is touched; writing is atomic.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

// "F32" -> f32, "BF16" -> bf16, ...; nothing for element types that files may have and Tensor does not ("I8", "F8_E4M3").
std::optional<DType> dtype_named_in_file(std::string_view name);
// Bits of one element of a type that files may have; 0 for other names.
int bits_of_file_dtype(std::string_view name);

struct SafetensorsEntry {
  std::string name, dtype;  // dtype as the file spells it: "F32", "BF16", "I64", ...
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes within the data section
};

// The header of a file's bytes, checked; entries in file order. Throws FormatError naming `source` and the rule that is broken.
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
  uint64_t data_start = 0;
};
SafetensorsHeader parse_safetensors(std::string_view bytes, const std::string& source);

class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path);
  std::vector<std::string> names() const;
  const SafetensorsEntry& entry(const std::string& name) const;  // throws FormatError if there is none
  const Shape& shape(const std::string& name) const { return entry(name).shape; }
  const std::vector<SafetensorsEntry>& entries() const { return header_.entries; }
  // A copy on the CPU. Throws DTypeError for a dtype that Tensor does not have.
  Tensor load(const std::string& name) const;
  // The same without a copy: it shares the mapping of the file (mapped_tensor.h).
  Tensor map(const SafetensorsEntry& entry) const;
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

 private:
  std::string path_;
  std::shared_ptr<class MappedFile> file_;
  SafetensorsHeader header_;
};

// Tensors may be strided; they are written packed, sorted by alignment and name. "format": "pt" is added to the metadata, without
// which other readers refuse the file. `dtype`: of all tensors of floats in the file, which are converted in pieces as they are written. Throws
// UsageError naming a tensor that has a finite number beyond its range.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       std::map<std::string, std::string> metadata = {}, std::optional<DType> dtype = {});
// The same into a file that the caller commits; `path` is for messages.
void write_safetensors(class AtomicFile& file, const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       std::map<std::string, std::string> metadata, std::optional<DType> dtype = {});
// What `t` is written in.
DType written_dtype(const Tensor& t, std::optional<DType> dtype);

}  // namespace pumice
