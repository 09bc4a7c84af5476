// Where JSON is parsed. nlohmann-json's parser is a template that compiles longer than most files that would use it (under sanitizers ten
// seconds), so it is compiled once, in json.cpp. For .cpp files: they include <nlohmann/json.hpp> themselves.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pumice {

// What `text` holds. Throws nlohmann::json::parse_error. For files and texts of our own: the last of equal keys counts.
nlohmann::json parse_json(std::string_view text);
nlohmann::ordered_json parse_ordered_json(std::string_view text);  // keys stay in their order

// The same, with // and /* */ comments skipped: files that people write for us.
nlohmann::json parse_json_with_comments(std::string_view text);

// The same, but `is_discarded()` where the text is no JSON.
nlohmann::json parse_json_or_discard(std::string_view text);

// For files that somebody else made. nlohmann-json keeps the last of equal keys silently and nests without limit; here both are errors.
// Parses `text` into `value`. Returns what is wrong, to be put after the file's name ("is not valid JSON: ..."), or "".
std::string parse_strict_json(std::string_view text, int max_depth, nlohmann::json& value);

}  // namespace pumice
