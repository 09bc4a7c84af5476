// The fields of a JSON object that somebody else wrote. For the .cpp files that read config.json and its kin.
#pragma once
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"
#include "pumice/tensor/suggest.h"

namespace pumice {

// A JSON object whose fields are asked for by name and type; what is wrong with one is an error that names it.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string source) : object_(object), source_(std::move(source)) {}

  bool has(const char* name) const { return object_.contains(name) && !object_[name].is_null(); }
  bool is_null(const char* name) const { return object_.contains(name) && object_[name].is_null(); }  // which is not the same as left out
  int64_t integer(const char* name) const {
    require(name);
    REQUIRE(FormatError, object_[name].is_number_integer(), source_, ": \"", name, "\" must be an integer, got ", object_[name].dump());
    return object_[name].get<int64_t>();
  }
  int64_t integer(const char* name, int64_t fallback) const { return has(name) ? integer(name) : fallback; }
  double number(const char* name) const {
    require(name);
    return number(name, 0);
  }
  double number(const char* name, double fallback) const {
    if (!has(name)) { return fallback; }
    REQUIRE(FormatError, object_[name].is_number(), source_, ": \"", name, "\" must be a number, got ", object_[name].dump());
    return object_[name].get<double>();
  }
  bool boolean(const char* name, bool fallback) const {
    if (!has(name)) { return fallback; }
    REQUIRE(FormatError, object_[name].is_boolean(), source_, ": \"", name, "\" must be true or false, got ", object_[name].dump());
    return object_[name].get<bool>();
  }
  std::string text(const char* name, const std::string& fallback) const {
    if (!has(name)) { return fallback; }
    REQUIRE(FormatError, object_[name].is_string(), source_, ": \"", name, "\" must be a text, got ", object_[name].dump());
    return object_[name].get<std::string>();
  }
  std::vector<int64_t> integers(const char* name) const {
    require(name);
    std::vector<int64_t> all;
    const bool list = object_[name].is_array();
    for (const nlohmann::json& v : list ? object_[name] : nlohmann::json::array({object_[name]})) {
      REQUIRE(FormatError, v.is_number_integer(), source_, ": \"", name, "\" must be a list of integers, got ", object_[name].dump());
      all.push_back(v.get<int64_t>());
    }
    return all;
  }
  std::optional<Fields> object(const char* name) const {
    if (!has(name)) { return {}; }
    REQUIRE(FormatError, object_[name].is_object(), source_, ": \"", name, "\" must be an object, got ", object_[name].dump());
    return Fields(object_[name], source_ + ": in \"" + name + "\"");
  }
  // Throws unless the field is absent or has the only value that is supported.
  void only(const char* name, bool supported) const {
    REQUIRE(FormatError, boolean(name, supported) == supported, source_, ": \"", name, "\": ", supported ? "false" : "true",
            " is not supported, only ", supported ? "true" : "false");
  }
  void one_of(const char* name, const std::string& fallback, const std::vector<std::string>& supported) const {
    const std::string given = text(name, fallback);
    REQUIRE(FormatError, std::find(supported.begin(), supported.end(), given) != supported.end(), source_, ": \"", name, "\": \"", given,
            "\" is not supported, only ", join(supported));
  }
  const std::string& source() const { return source_; }

 private:
  void require(const char* name) const { REQUIRE(FormatError, has(name), source_, ": \"", name, "\" is required and missing"); }
  const nlohmann::json& object_;
  std::string source_;
};

// The object in `text`. Throws FormatError naming `source`.
inline nlohmann::json parse_hf_object(const std::string& text, const std::string& source) {
  nlohmann::json value;
  const std::string fault = parse_strict_json(text, 32, value);
  REQUIRE(FormatError, fault.empty() && value.is_object(), source, ": ", fault.empty() ? "must hold an object" : fault);
  return value;
}

}  // namespace pumice
