// Small things about text that readers of data share.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

namespace pumice {

inline std::string trimmed(std::string_view text) {
  const char* blank = " \t\r\n";
  size_t begin = text.find_first_not_of(blank), end = text.find_last_not_of(blank);
  return begin == std::string_view::npos ? "" : std::string(text.substr(begin, end - begin + 1));
}

// Letters of ASCII alone, as in names of files and flags.
inline std::string ascii_lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return text;
}

// Calls f(line, number) for each line, counted from 1, without its end ("\n" or "\r\n").
template <class F> void each_line(std::string_view text, const F& f) {
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (!line.empty() && line.back() == '\r') { line.remove_suffix(1); }
    f(line, number);
  }
}

// FNV-1a, continued from `hash`.
inline uint64_t hash_of(std::string_view text, uint64_t hash = 14695981039346656037ull) {
  for (unsigned char c : text) { hash = (hash ^ c) * 1099511628211ull; }
  return hash;
}

}  // namespace pumice
