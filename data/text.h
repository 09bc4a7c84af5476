// Small things about text that readers of data share.
#pragma once
#include <string>
#include <string_view>

namespace pumice {

inline std::string trimmed(std::string_view text) {
  const char* blank = " \t\r\n";
  size_t begin = text.find_first_not_of(blank), end = text.find_last_not_of(blank);
  return begin == std::string_view::npos ? "" : std::string(text.substr(begin, end - begin + 1));
}

// FNV-1a, continued from `hash`.
inline uint64_t hash_of(std::string_view text, uint64_t hash = 14695981039346656037ull) {
  for (unsigned char c : text) { hash = (hash ^ c) * 1099511628211ull; }
  return hash;
}

}  // namespace pumice
