#include "pumice/tensor/json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "pumice/tensor/error.h"

namespace pumice {

nlohmann::json parse_json(std::string_view text) { return nlohmann::json::parse(text); }

nlohmann::ordered_json parse_ordered_json(std::string_view text) { return nlohmann::ordered_json::parse(text); }

nlohmann::json parse_json_with_comments(std::string_view text) { return nlohmann::json::parse(text, nullptr, true, true); }

nlohmann::json parse_json_or_discard(std::string_view text) { return nlohmann::json::parse(text, nullptr, false); }

std::string parse_strict_json(std::string_view text, int max_depth, nlohmann::json& value) {
  using Json = nlohmann::json;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::string twice;
  bool deep = false;
  auto watch = [&](int depth, Json::parse_event_t event, Json& part) {
    deep |= depth > max_depth;
    if (event == Json::parse_event_t::object_start) { keys.emplace_back(); }
    if (event == Json::parse_event_t::object_end && !keys.empty()) { keys.pop_back(); }
    if (event == Json::parse_event_t::key && !keys.empty() && !keys.back().insert(part.get<std::string>()).second) { twice = part.get<std::string>(); }
    return !deep;
  };
  try {
    value = Json::parse(text, watch);
  } catch (const Json::exception& e) {
    return concat_text("is not valid JSON: ", e.what());
  }
  if (deep) { return concat_text("nests deeper than ", max_depth, " levels"); }
  return twice.empty() ? "" : concat_text("has the key '", twice, "' twice in one object");
}

}  // namespace pumice
