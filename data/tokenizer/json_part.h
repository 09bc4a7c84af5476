// A value inside a tokenizer's JSON file together with its place, so that every complaint names the file and the path.
#pragma once
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace pumice {

// Parses the text of a file; throws FormatError naming `source` for text that is not JSON, has a key twice or is nested deeper than `depth`.
nlohmann::json parse_foreign_json(std::string_view text, const std::string& source, int depth = 32);

class JsonPart {
 public:
  // Refers to `value` and `source`, which must outlive it. `path` reads "model.merges[3]".
  JsonPart(const nlohmann::json& value, const std::string& source, std::string path) : value_(value), source_(source), path_(std::move(path)) {}

  const nlohmann::json& value() const { return value_; }
  const std::string& path() const { return path_; }
  [[noreturn]] void fail(const std::string& why) const;  // FormatError "[tokenizer] FILE: PATH why"

  bool has(const char* key) const;         // present and not null
  JsonPart at(const std::string& key) const;  // null when absent
  JsonPart entry(const std::string& key, const nlohmann::json& value) const { return {value, source_, path_ + "['" + key + "']"}; }  // of a table
  JsonPart entry(size_t i) const { return {value_[i], source_, path_ + "[" + std::to_string(i) + "]"}; }  // of a list
  std::string type() const;                // of {"type": "...", ...}
  [[noreturn]] void unknown_type(const std::string& supported) const;
  std::string text() const;                // the value must be a string
  std::string text(const char* key, const std::string& fallback) const;
  std::string non_empty(const char* key, const std::string& fallback) const;  // an empty one is an error
  bool flag(const char* key, bool fallback) const;
  int32_t integer(int64_t least, int64_t most, const std::string& what) const;
  void each(const std::function<void(const JsonPart&)>& f) const;  // of the value, which must be a list

 private:
  const nlohmann::json& value_;
  const std::string& source_;
  std::string path_;
};

}  // namespace pumice
