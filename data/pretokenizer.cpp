#include "pumice/data/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include <cstdlib>

#include "pumice/tensor/error.h"

namespace pumice {
namespace {

bool valid_utf8(std::string_view text) {
  const utf8proc_uint8_t* p = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  utf8proc_ssize_t left = utf8proc_ssize_t(text.size());
  while (left > 0) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate(p, left, &c);
    if (n <= 0) { return false; }
    p += n;
    left -= n;
  }
  return true;
}

std::string lower(const std::string& text) {
  std::string out;
  const utf8proc_uint8_t* p = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (utf8proc_ssize_t left = utf8proc_ssize_t(text.size()); left > 0;) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate(p, left, &c);
    utf8proc_uint8_t buffer[8];
    if (c == 0x130) { out += "i\xcc\x87"; }  // the one character whose lower case is two
    else { out.append(reinterpret_cast<char*>(buffer), size_t(utf8proc_encode_char(utf8proc_tolower(c), buffer))); }
    p += n;
    left -= n;
  }
  return out;
}

// Length of the valid UTF-8 character at the start of `text`, 0 when there is none.
size_t character(std::string_view text) {
  utf8proc_int32_t c;
  utf8proc_ssize_t n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), utf8proc_ssize_t(text.size()), &c);
  return n > 0 ? size_t(n) : 0;
}

}  // namespace

std::string Normalization::apply(std::string_view text) const {
  if ((!nfc && !lowercase) || !valid_utf8(text)) { return std::string(text); }
  std::string out(text);
  if (nfc) {
    utf8proc_uint8_t* composed = nullptr;
    utf8proc_ssize_t n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(out.data()), utf8proc_ssize_t(out.size()), &composed,
                                      utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (n >= 0) { out.assign(reinterpret_cast<char*>(composed), size_t(n)); }
    std::free(composed);
  }
  return lowercase ? lower(out) : out;
}

Pretokenizer::Pretokenizer(std::string pattern, bool add_prefix_space) : pattern_(std::move(pattern)), add_prefix_space_(add_prefix_space) {
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern_.data()), pattern_.size(), PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr);
  if (!code) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof message);
    throw FormatError(concat_text("[tokenizer] the pattern '", pattern_, "' is wrong at character ", at, ": ", reinterpret_cast<char*>(message)), __FILE__, __LINE__);
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT the interpreter runs
  code_ = code;
}

Pretokenizer::~Pretokenizer() { pcre2_code_free(static_cast<pcre2_code*>(code_)); }

void Pretokenizer::split(std::string_view text, const std::function<void(std::string_view)>& word) const {
  std::string spaced;
  if (add_prefix_space_ && !text.empty() && text[0] != ' ') {
    spaced = " " + std::string(text);
    text = spaced;
  }
  // Runs of bytes that are not UTF-8 are words of their own; the pattern sees only valid text.
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = begin, bad = begin;
    while (end < text.size()) {
      size_t n = character(text.substr(end));
      if (n == 0) { break; }
      end += n;
    }
    for (bad = end; bad < text.size() && character(text.substr(bad)) == 0;) { ++bad; }
    std::string_view valid = text.substr(begin, end - begin);
    pcre2_match_data* match = pcre2_match_data_create_from_pattern(static_cast<pcre2_code*>(code_), nullptr);
    size_t at = 0;
    while (at < valid.size()) {
      int found = pcre2_match(static_cast<pcre2_code*>(code_), reinterpret_cast<PCRE2_SPTR>(valid.data()), valid.size(), at, PCRE2_NO_UTF_CHECK, match, nullptr);
      size_t from = valid.size(), to = valid.size();
      if (found > 0) {
        from = pcre2_get_ovector_pointer(match)[0];
        to = pcre2_get_ovector_pointer(match)[1];
      }
      if (from > at) { word(valid.substr(at, from - at)); }
      if (to > from) { word(valid.substr(from, to - from)); }
      at = to > at ? to : at + std::max<size_t>(1, character(valid.substr(at)));
    }
    pcre2_match_data_free(match);
    if (bad > end) { word(text.substr(end, bad - end)); }
    begin = bad;
  }
}

}  // namespace pumice
