// UTF-8 and the Unicode transformations of tokenizers, over utf8proc. All but character(), valid_prefix() and is_ascii() want valid UTF-8.
#pragma once
#include <string>
#include <string_view>

namespace pumice {

// Length in bytes of the valid character at the start of `text`; 0 when there is none.
size_t character(std::string_view text);
// Length of the longest valid prefix.
size_t valid_prefix(std::string_view text);

bool is_ascii(std::string_view text);

enum class Form { nfc, nfd, nfkc, nfkd };
std::string normal_form(const std::string& text, Form form);
std::string lower(const std::string& text);            // each character for itself: a final sigma is an ordinary one
std::string without_marks(const std::string& text);    // drops combining marks (categories Mn, Mc, Me)
std::string trimmed(const std::string& text, bool left, bool right);

bool is_space(std::string_view character);  // of the property White_Space
bool is_word(std::string_view character);   // letters, marks, digits, connectors: \w
std::string_view first_character(std::string_view text);
std::string_view last_character(std::string_view text);

}  // namespace pumice
