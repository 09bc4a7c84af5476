#include "pumice/data/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

namespace pumice {
namespace {

utf8proc_int32_t code_of(std::string_view text, size_t* length) {
  utf8proc_int32_t c;
  utf8proc_ssize_t n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), utf8proc_ssize_t(text.size()), &c);
  *length = n > 0 ? size_t(n) : 0;
  return c;
}

void append(utf8proc_int32_t c, std::string& out) {
  utf8proc_uint8_t buffer[8];
  out.append(reinterpret_cast<char*>(buffer), size_t(utf8proc_encode_char(c, buffer)));
}

template <class F> std::string each_character(const std::string& text, const F& f) {
  std::string out;
  size_t n = 0;
  for (size_t i = 0; i < text.size(); i += n) {
    utf8proc_int32_t c = code_of(std::string_view(text).substr(i), &n);
    if (n == 0) { break; }
    f(c, out);
  }
  return out;
}

bool space_code(utf8proc_int32_t c) {
  utf8proc_category_t category = utf8proc_category(c);
  return (c >= 9 && c <= 13) || c == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

}  // namespace

size_t character(std::string_view text) {
  if (!text.empty() && static_cast<unsigned char>(text[0]) < 0x80) { return 1; }
  size_t n = 0;
  code_of(text, &n);
  return n;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

size_t valid_prefix(std::string_view text) {
  size_t end = 0;
  while (end < text.size()) {
    size_t n = character(text.substr(end));
    if (n == 0) { break; }
    end += n;
  }
  return end;
}

std::string normal_form(const std::string& text, Form form) {
  if (is_ascii(text)) { return text; }  // every form leaves it as it is
  int options = UTF8PROC_STABLE;
  options |= form == Form::nfc || form == Form::nfkc ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == Form::nfkc || form == Form::nfkd) { options |= UTF8PROC_COMPAT; }
  utf8proc_uint8_t* made = nullptr;
  utf8proc_ssize_t n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), utf8proc_ssize_t(text.size()), &made,
                                    utf8proc_option_t(options));
  std::string out = n >= 0 ? std::string(reinterpret_cast<char*>(made), size_t(n)) : text;
  std::free(made);
  return out;
}

std::string lower(const std::string& text) {
  return each_character(text, [](utf8proc_int32_t c, std::string& out) {
    if (c == 0x130) { out += "i\xcc\x87"; }  // the one character whose lower case is two
    else { append(utf8proc_tolower(c), out); }
  });
}

std::string without_marks(const std::string& text) {
  return each_character(text, [](utf8proc_int32_t c, std::string& out) {
    utf8proc_category_t category = utf8proc_category(c);
    if (category != UTF8PROC_CATEGORY_MN && category != UTF8PROC_CATEGORY_MC && category != UTF8PROC_CATEGORY_ME) { append(c, out); }
  });
}

bool is_space(std::string_view text) {
  size_t n = 0;
  utf8proc_int32_t c = code_of(text, &n);
  return n > 0 && space_code(c);
}

bool is_word(std::string_view text) {
  size_t n = 0;
  utf8proc_int32_t c = code_of(text, &n);
  if (n == 0) { return false; }
  utf8proc_category_t category = utf8proc_category(c);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) || category == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d;
}

std::string_view first_character(std::string_view text) { return text.substr(0, character(text)); }

std::string_view last_character(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0 && text.size() - begin < 4) {
    --begin;
    if ((static_cast<unsigned char>(text[begin]) & 0xc0) != 0x80) { break; }
  }
  return text.substr(begin);
}

std::string trimmed(const std::string& text, bool left, bool right) {
  std::string_view rest = text;
  while (left && is_space(first_character(rest))) { rest.remove_prefix(first_character(rest).size()); }
  while (right && is_space(last_character(rest))) { rest.remove_suffix(last_character(rest).size()); }
  return std::string(rest);
}

}  // namespace pumice
