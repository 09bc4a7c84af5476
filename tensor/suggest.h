// "Did you mean": the nearest of a list of names, for errors about misspelt flags, commands, presets and values.
#pragma once
#include <string>
#include <vector>

namespace pumice {

// Levenshtein distance with swaps of neighbours counted as one (Damerau 1964, restricted).
int edit_distance(const std::string& a, const std::string& b);
// The nearest name within a third of its length, or "" when none is near.
std::string nearest_name(const std::string& given, const std::vector<std::string>& names);
// " Did you mean 'x'?" or "".
std::string did_you_mean(const std::string& given, const std::vector<std::string>& names);
// "a, b, c"
std::string join(const std::vector<std::string>& words, const std::string& separator = ", ");

}  // namespace pumice
