#include "pumice/tensor/safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/mapped_tensor.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;

// In the order of increasing alignment, on which the writer's order depends.
struct FileType { const char* name; int bits; };
constexpr FileType kTypes[] = {{"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8}, {"F8_E5M2", 8}, {"F8_E4M3", 8},
                               {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},
                               {"I32", 32}, {"U32", 32}, {"F32", 32}, {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64}};

const FileType* type_named(std::string_view name) {
  for (const FileType& t : kTypes) {
    if (name == t.name) { return &t; }
  }
  return nullptr;
}

int alignment_rank(const std::string& name) { return int(type_named(name) - kTypes); }

const char* file_name(DType d) {
  switch (d) {
    case DType::f32: return "F32";
    case DType::bf16: return "BF16";
    case DType::f64: return "F64";
    case DType::f16: return "F16";
    case DType::i32: return "I32";
    case DType::i64: return "I64";
    case DType::u8: return "U8";
    case DType::boolean: return "BOOL";
  }
  return "?";
}

Json parse_header(std::string_view text, const std::string& source) {
  Json j;
  std::string wrong = parse_strict_json(text, 4, j);
  REQUIRE(FormatError, wrong.empty(), "[safetensors] ", source, ": InvalidHeaderDeserialization: the header ", wrong);
  REQUIRE(FormatError, j.is_object(), "[safetensors] ", source, ": InvalidHeaderDeserialization: the header must be an object");
  return j;
}

SafetensorsEntry read_entry(const std::string& name, const Json& j, const std::string& source) {
  auto wrong = [&](const auto&... parts) {
    return FormatError(concat_text("[safetensors] ", source, ": InvalidHeaderDeserialization: tensor '", name, "': ", parts...), __FILE__, __LINE__);
  };
  SafetensorsEntry e;
  e.name = name;
  if (!j.is_object() || !j.contains("dtype") || !j["dtype"].is_string()) { throw wrong("a string dtype is required"); }
  e.dtype = j["dtype"].get<std::string>();
  if (!type_named(e.dtype)) { throw wrong("unknown dtype '", e.dtype, "'"); }
  if (!j.contains("shape") || !j["shape"].is_array()) { throw wrong("a shape array is required"); }
  const Json& offsets = j.contains("data_offsets") ? j["data_offsets"] : Json();
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
    throw wrong("data_offsets must be two non-negative integers");
  }
  e.begin = offsets[0].get<uint64_t>();
  e.end = offsets[1].get<uint64_t>();
  uint64_t elements = 1;
  for (const Json& dim : j["shape"]) {
    if (!dim.is_number_unsigned()) { throw wrong("shape must hold non-negative integers, got ", dim.dump()); }
    uint64_t d = dim.get<uint64_t>();
    if (__builtin_mul_overflow(elements, d, &elements) || d > uint64_t(INT64_MAX)) {
      throw FormatError(concat_text("[safetensors] ", source, ": ValidationOverflow: the shape of tensor '", name, "' overflows"), __FILE__, __LINE__);
    }
    if (e.shape.rank() == kMaxRank) { throw wrong("more than ", kMaxRank, " axes"); }
    e.shape.push_back(int64_t(d));
  }
  uint64_t bits = 0;
  REQUIRE(FormatError, !__builtin_mul_overflow(elements, uint64_t(type_named(e.dtype)->bits), &bits), "[safetensors] ", source,
          ": ValidationOverflow: the size of tensor '", name, "' overflows");
  REQUIRE(FormatError, bits % 8 == 0, "[safetensors] ", source, ": MisalignedSlice: tensor '", name, "' ends inside a byte");
  REQUIRE(FormatError, e.end >= e.begin, "[safetensors] ", source, ": InvalidOffset: tensor '", name, "' ends at ", e.end, " before it begins at ", e.begin);
  REQUIRE(FormatError, e.end - e.begin == bits / 8, "[safetensors] ", source, ": TensorInvalidInfo: tensor '", name, "' of ", e.dtype, " ", e.shape, " needs ",
          bits / 8, " bytes, its offsets span ", e.end - e.begin);
  return e;
}

}  // namespace

std::optional<DType> dtype_named_in_file(std::string_view name) {
  for (DType d : {DType::f32, DType::bf16, DType::f64, DType::f16, DType::i32, DType::i64, DType::u8, DType::boolean}) {
    if (name == file_name(d)) { return d; }
  }
  return std::nullopt;
}

int bits_of_file_dtype(std::string_view name) {
  const FileType* t = type_named(name);
  return t ? t->bits : 0;
}

SafetensorsHeader parse_safetensors(std::string_view bytes, const std::string& source) {
  REQUIRE(FormatError, bytes.size() >= 8, "[safetensors] ", source, ": HeaderTooSmall: at least 8 bytes are required, got ", bytes.size());
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  REQUIRE(FormatError, length <= kMaxHeader, "[safetensors] ", source, ": HeaderTooLarge: a header of ", length, " bytes (at most ", kMaxHeader,
          "). This may not be a safetensors file");
  REQUIRE(FormatError, length <= bytes.size() - 8, "[safetensors] ", source, ": InvalidHeaderLength: a header of ", length, " bytes does not fit a file of ",
          bytes.size(), ". Is the download complete?");
  std::string_view text = bytes.substr(8, length);
  REQUIRE(FormatError, !text.empty() && text[0] == '{', "[safetensors] ", source, ": InvalidHeader: the header must begin with '{'");
  Json j = parse_header(text, source);

  SafetensorsHeader header;
  header.data_start = 8 + length;
  for (const auto& [name, value] : j.items()) {
    if (name != "__metadata__") {
      header.entries.push_back(read_entry(name, value, source));
      continue;
    }
    REQUIRE(FormatError, value.is_object(), "[safetensors] ", source, ": InvalidHeaderDeserialization: __metadata__ must be an object");
    for (const auto& [key, text_value] : value.items()) {
      REQUIRE(FormatError, text_value.is_string(), "[safetensors] ", source, ": InvalidHeaderDeserialization: __metadata__ '", key, "' must be a string");
      header.metadata[key] = text_value.get<std::string>();
    }
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t expected = 0;
  for (const SafetensorsEntry& e : header.entries) {
    REQUIRE(FormatError, e.begin == expected, "[safetensors] ", source, ": InvalidOffset: tensor '", e.name, "' begins at ", e.begin, ", ",
            e.begin < expected ? "inside the tensor before it" : "leaving a hole", " (expected ", expected, ")");
    expected = e.end;
  }
  REQUIRE(FormatError, header.data_start + expected == bytes.size(), "[safetensors] ", source, ": MetadataIncompleteBuffer: the header describes ",
          header.data_start + expected, " bytes, the file has ", bytes.size(),
          header.data_start + expected > bytes.size() ? ". Is the download complete?" : "");
  return header;
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  SafetensorsFile f;
  f.path_ = path;
  f.file_ = std::make_shared<MappedFile>(path);
  f.header_ = parse_safetensors(f.file_->bytes(), path);
  return f;
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> all;
  for (const SafetensorsEntry& e : header_.entries) { all.push_back(e.name); }
  return all;
}

const SafetensorsEntry& SafetensorsFile::entry(const std::string& name) const {
  for (const SafetensorsEntry& e : header_.entries) {
    if (e.name == name) { return e; }
  }
  throw FormatError(concat_text("[safetensors] ", path_, " has no tensor '", name, "'"), __FILE__, __LINE__);
}

Tensor SafetensorsFile::map(const SafetensorsEntry& e) const {
  const std::optional<DType> dtype = dtype_named_in_file(e.dtype);
  REQUIRE(DTypeError, dtype, "[safetensors] ", path_, ": tensor '", e.name, "' is ", e.dtype, ", which cannot be loaded");
  return mapped_tensor(file_, header_.data_start + e.begin, e.shape, *dtype);
}

Tensor SafetensorsFile::load(const std::string& name) const {
  const Tensor mapped = map(entry(name));
  Tensor t = empty_like(mapped);
  if (t.size()) { std::memcpy(t.raw(), mapped.raw(), size_t(t.bytes())); }
  return t;
}

DType written_dtype(const Tensor& t, std::optional<DType> dtype) {
  return dtype && (is_float(t.dtype()) || t.dtype() == DType::f16) ? *dtype : t.dtype();
}

namespace {

// Throws UsageError where `to`, a part of the tensor `name` in another type, is infinite and `from` is not.
void require_in_range(const Tensor& from, const Tensor& to, const std::string& path, const std::string& name) {
  const std::vector<double> was = to_dtype(from, DType::f64).to_vector<double>(), is = to_dtype(to, DType::f64).to_vector<double>();
  for (size_t i = 0; i < is.size(); ++i) {
    REQUIRE(UsageError, std::isfinite(is[i]) || !std::isfinite(was[i]), "[safetensors] ", path, ": '", name, "' holds ", was[i],
            ", which is beyond the range of ", pumice::name(to.dtype()));
  }
}

void write_converted(AtomicFile& file, const Tensor& t, DType dtype, const std::string& path, const std::string& name) {
  constexpr int64_t kPiece = 1 << 22;  // elements
  const Tensor flat = packed(t).reshape({t.size()});
  for (int64_t begin = 0; begin < t.size(); begin += kPiece) {
    const Tensor from = flat.slice(0, begin, std::min(t.size(), begin + kPiece)), to = to_dtype(from, dtype);
    if (size_of(dtype) <= 2 || size_of(dtype) < size_of(t.dtype())) { require_in_range(from, to, path, name); }
    file.write(to.raw(), size_t(to.bytes()));
  }
}

}  // namespace

void write_safetensors(AtomicFile& file, const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       std::map<std::string, std::string> metadata, std::optional<DType> dtype) {
  metadata["format"] = "pt";
  std::vector<std::pair<std::string, Tensor>> sorted = tensors;
  const auto type_of = [&](const Tensor& t) { return written_dtype(t, dtype); };
  std::sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) {
    return std::pair(-alignment_rank(file_name(type_of(a.second))), a.first) < std::pair(-alignment_rank(file_name(type_of(b.second))), b.first);
  });
  nlohmann::ordered_json j;
  j["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, t] : sorted) {
    REQUIRE(UsageError, !j.contains(name), "[safetensors] ", path, ": the name '", name, "' is given twice");
    uint64_t end = offset + uint64_t(t.size() * size_of(type_of(t)));
    j[name] = {{"dtype", file_name(type_of(t))}, {"shape", std::vector<int64_t>(t.shape().begin(), t.shape().end())}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string header = j.dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');
  uint64_t length = header.size();
  file.write(&length, 8);
  file.write(header);
  for (const auto& [name, t] : sorted) {
    const Tensor here = to_device(t, Device::cpu());
    if (type_of(t) != t.dtype()) {
      write_converted(file, here, type_of(t), path, name);
    } else if (const Tensor dense = packed(here); dense.size()) {
      file.write(dense.raw(), size_t(dense.bytes()));
    }
  }
}

void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       std::map<std::string, std::string> metadata, std::optional<DType> dtype) {
  AtomicFile file(path);
  write_safetensors(file, path, tensors, std::move(metadata), dtype);
  file.commit();
}

}  // namespace pumice
