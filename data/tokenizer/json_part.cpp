#include "pumice/data/tokenizer/json_part.h"

#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"

namespace pumice {

nlohmann::json parse_foreign_json(std::string_view text, const std::string& source, int depth) {
  nlohmann::json j;
  const std::string wrong = parse_strict_json(text, depth, j);
  REQUIRE(FormatError, wrong.empty(), "[tokenizer] ", source, ": the file ", wrong);
  return j;
}

void JsonPart::fail(const std::string& why) const {
  throw FormatError(concat_text("[tokenizer] ", source_, ": ", path_, " ", why), __FILE__, __LINE__);
}

bool JsonPart::has(const char* key) const { return value_.is_object() && value_.contains(key) && !value_[key].is_null(); }

JsonPart JsonPart::at(const std::string& key) const {
  static const nlohmann::json nothing;
  return {value_.is_object() && value_.contains(key) ? value_[key] : nothing, source_, path_.empty() ? key : path_ + "." + key};
}

std::string JsonPart::type() const {
  if (!has("type") || !value_["type"].is_string()) { at("type").fail("must be a string"); }
  return value_["type"].get<std::string>();
}

void JsonPart::unknown_type(const std::string& supported) const { at("type").fail("'" + type() + "' is not supported (" + supported + ")"); }

std::string JsonPart::text() const {
  if (!value_.is_string()) { fail("must be a string"); }
  return value_.get<std::string>();
}

std::string JsonPart::text(const char* key, const std::string& fallback) const { return has(key) ? at(key).text() : fallback; }

std::string JsonPart::non_empty(const char* key, const std::string& fallback) const {
  std::string t = text(key, fallback);
  if (t.empty()) { at(key).fail("is empty"); }
  return t;
}

bool JsonPart::flag(const char* key, bool fallback) const {
  if (!has(key)) { return fallback; }
  if (!value_[key].is_boolean()) { at(key).fail("must be true or false"); }
  return value_[key].get<bool>();
}

int32_t JsonPart::integer(int64_t least, int64_t most, const std::string& what) const {
  const bool fits = value_.is_number_integer() && !(value_.is_number_unsigned() && value_.get<uint64_t>() > uint64_t(most));
  if (!fits || value_.get<int64_t>() < least || value_.get<int64_t>() > most) {
    fail(concat_text("must be ", what, " from ", least, " to ", most));
  }
  return value_.get<int32_t>();
}

void JsonPart::each(const std::function<void(const JsonPart&)>& f) const {
  if (!value_.is_array()) { fail("must be an array"); }
  for (size_t i = 0; i < value_.size(); ++i) { f(entry(i)); }
}

}  // namespace pumice
