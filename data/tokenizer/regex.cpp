#include "pumice/data/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

std::string message_of(int error) {
  PCRE2_UCHAR message[256];
  pcre2_get_error_message(error, message, sizeof message);
  return reinterpret_cast<char*>(message);
}

// Tokenizer files write patterns for Oniguruma or Rust's regex, where \w has marks and connectors; PCRE2's (before 10.43) has neither.
constexpr const char* kWord = "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}";

// The pattern as PCRE2 understands it. Refuses what it would silently understand differently.
std::string translated(const std::string& pattern) {
  auto refuse = [&](const char* what, size_t at) {
    throw FormatError(concat_text("[tokenizer] the pattern '", pattern, "' has ", what, " at character ", at, ", which is not supported"), __FILE__,
        __LINE__);
  };
  std::string out;
  size_t set = std::string::npos;  // where the set [...] begins that we are in
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i], next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (c == '\\') {
      if (next == 'h' || next == 'H') { refuse("\\h", i); }
      if (next == 'w') { out += set == std::string::npos ? "[" + std::string(kWord) + "]" : kWord; }
      else if (next == 'W' && set == std::string::npos) { out += "[^" + std::string(kWord) + "]"; }
      else { out.append(pattern, i, 2); }
      ++i;
      continue;
    }
    out += c;
    if (set == std::string::npos) {
      if (c == '[') { set = next == '^' ? i + 1 : i; }
      if (c == '[' && next == '^') { out += pattern[++i]; }
    } else if (c == ']' && i > set + 1) { set = std::string::npos; }  // a first ] stands for itself
    else if (c == '&' && next == '&') { refuse("an intersection of sets (&&)", i); }
    else if (c == '[' && next == ':') {
      const size_t end = std::min(pattern.find(":]", i), pattern.size() - 1);
      out.append(pattern, i + 1, end + 1 - i);
      i = end + 1;
    } else if (c == '[') { refuse("a set within a set", i); }
  }
  return out;
}

// Of the thread: its place for a match is filled and read within one call of next().
pcre2_match_data* match_data() {
  thread_local std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  return data.get();
}

}  // namespace

Regex::Regex(const std::string& pattern) : pattern_(pattern) {
  int error = 0;
  PCRE2_SIZE at = 0;
  const std::string perl = translated(pattern);
  // \C would split characters.
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(perl.data()), perl.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                                   &error, &at, nullptr);
  REQUIRE(FormatError, code, "[tokenizer] the pattern '", pattern_, "' is wrong at character ", at, ": ", message_of(error));
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT the interpreter runs
  code_ = std::shared_ptr<void>(code, [](void* c) { pcre2_code_free(static_cast<pcre2_code*>(c)); });
}

Regex Regex::literal(const std::string& text) {
  Regex r;
  r.pattern_ = text;
  return r;
}

std::string Regex::replace(const std::string& text, const std::string& with) const {
  const size_t most = growth_limit(text.size());
  std::string out;
  size_t done = 0;
  each(text, [&](size_t from, size_t to) {
    out.append(text, done, from - done).append(with);
    REQUIRE(FormatError, out.size() <= most, "[tokenizer] the replacements of '", pattern_, "' make more than ", most, " bytes of one text");
    done = to;
  });
  return out.append(text, done, std::string::npos);
}

bool Regex::Search::next(size_t& from, size_t& to) {
  if (!regex_.code_) {
    from = text_.find(regex_.pattern_, at_);
    if (from == std::string_view::npos) { return false; }
    at_ = to = from + regex_.pattern_.size();
    return true;
  }
  pcre2_match_data* match = match_data();
  while (at_ < text_.size()) {
    auto search = [&](uint32_t options) {
      return pcre2_match(static_cast<const pcre2_code*>(regex_.code_.get()), reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(), at_,
                         PCRE2_NO_UTF_CHECK | options, match, nullptr);
    };
    int found = search(0);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) { found = search(PCRE2_NO_JIT); }  // the interpreter keeps its stack on the heap
    if (found == PCRE2_ERROR_NOMATCH) { return false; }
    // 0: more groups than one; the whole match is there all the same.
    REQUIRE(FormatError, found >= 0, "[tokenizer] the pattern '", regex_.pattern_, "' gave up on a text of ", text_.size(), " bytes: ",
        message_of(found));
    from = pcre2_get_ovector_pointer(match)[0];
    to = pcre2_get_ovector_pointer(match)[1];
    if (to > from && from >= at_) {
      at_ = to;
      return true;
    }
    at_ = std::max(at_, to) + std::max<size_t>(1, character(text_.substr(std::min(text_.size(), std::max(at_, to)))));  // empty: one character on
  }
  return false;
}

}  // namespace pumice
