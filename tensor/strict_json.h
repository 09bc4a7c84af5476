// JSON in files that somebody else made. nlohmann-json keeps the last of equal keys silently and nests without limit; here both are
// errors. For the .cpp files that parse such files: they include <nlohmann/json.hpp> themselves.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pumice {

// Parses `text` into `value`. Returns what is wrong, to be put after the file's name ("is not valid JSON: ..."), or "".
std::string parse_strict_json(std::string_view text, int max_depth, nlohmann::json& value);

}  // namespace pumice
