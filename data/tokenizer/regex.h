// A pattern over UTF-8 text as tokenizer files hold them: Perl-compatible with Unicode classes (\w has letters, marks, digits and
// connectors), or a plain string. Thread-safe.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace pumice {

// Bytes that one text may become. Replacements of replacements grow without bound; no honest tokenizer makes more of a text than this.
inline size_t growth_limit(size_t bytes) { return (size_t(1) << 20) + 64 * bytes; }

class Regex {
 public:
  // Throws FormatError with the position of the pattern's error, also for what PCRE2 would understand differently than the libraries such
  // patterns are written for: \h, sets within sets and their intersections.
  explicit Regex(const std::string& pattern);
  static Regex literal(const std::string& text);  // matches exactly `text`, which is not empty

  // Calls f(from, to) for every match that is not empty, from left to right. `text` must be valid UTF-8. Throws FormatError when the
  // pattern needs more steps than PCRE2 allows on this text.
  template <class F> void each(std::string_view text, const F& f) const {
    Search search(*this, text);
    size_t from, to;
    while (search.next(from, to)) { f(from, to); }
  }
  // `with` stands for itself. Throws FormatError when the result would pass growth_limit().
  std::string replace(const std::string& text, const std::string& with) const;

 private:
  class Search {
   public:
    Search(const Regex& regex, std::string_view text) : regex_(regex), text_(text) {}
    bool next(size_t& from, size_t& to);

   private:
    const Regex& regex_;
    std::string_view text_;
    size_t at_ = 0;
  };
  Regex() = default;
  std::string pattern_;         // or the literal text
  std::shared_ptr<void> code_;  // pcre2_code; null for a literal
};

}  // namespace pumice
