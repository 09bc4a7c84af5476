// What happens to text before BPE: normalisation and the split into words.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace pumice {

struct Normalization {
  bool nfc = false, lowercase = false;
  // Text that is not UTF-8 is returned as it is.
  std::string apply(std::string_view text) const;
};

// GPT-2's words: contractions, letters, digits and other signs, each with the space before it.
inline constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Cuts text into the matches of a Perl-compatible pattern and the pieces between them. Thread-safe.
class Pretokenizer {
 public:
  // Throws FormatError with the position of the pattern's error.
  Pretokenizer(std::string pattern, bool add_prefix_space);
  ~Pretokenizer();
  void split(std::string_view text, const std::function<void(std::string_view)>& word) const;
  const std::string& pattern() const { return pattern_; }
  bool add_prefix_space() const { return add_prefix_space_; }

 private:
  std::string pattern_;
  bool add_prefix_space_;
  void* code_ = nullptr;  // pcre2_code
};

}  // namespace pumice
