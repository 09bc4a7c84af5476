// Text while it is generated: token by token, never half a character and never half of what ends it.
//
//   TextStream stream(tokenizer, {"\nUSER:"});
//   while (!stream.stopped()) { show(stream.push(next_token())); }
//   show(stream.finish());
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "pumice/data/tokenizer.h"

namespace pumice {

// Passes text on up to the first of some strings. What may be the beginning of one is held back until it is known. How the text is cut into
// pushes does not matter: of several strings the one that is complete first ends the text, of those that end together the longest.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);  // throws UsageError for an empty one
  std::string push(std::string_view text);  // "" from the stop on
  std::string finish();                     // what was held back, when no more text comes
  const std::string& found() const { return found_; }  // the string that ended the text; "" until then

 private:
  bool find(size_t& begin);
  size_t held_length() const;
  std::vector<std::string> stops_;
  std::string held_, found_;
};

// Passes bytes on as valid UTF-8. The beginning of a character is held back; what cannot become one is replaced by U+FFFD, one for each
// longest part that began a character, as Python's and the browsers' decoders do it.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);
  std::string finish();  // U+FFFD for the beginning of a character, when no more bytes come

 private:
  std::string held_;
};

// The text of ids as they come, without special tokens: the same as of all of them at once. A token is decoded behind the last one that cuts the text
// (Tokenizer::cuts_after), which is nearly always the one before it.
class TextStream {
 public:
  TextStream(Tokenizer tokenizer, std::vector<std::string> stops) : tokenizer_(std::move(tokenizer)), stops_(std::move(stops)) {}
  std::string push(int32_t id);
  std::string finish();
  bool stopped() const { return !stops_.found().empty(); }  // by a stop string; what ends by a token, the caller knows

 private:
  std::string pass_on(const std::string& text, size_t end);
  Tokenizer tokenizer_;
  std::vector<int32_t> ids_;  // from the cut on
  size_t passed_ = 0;         // bytes of their text
  StopStrings stops_;
  Utf8Stream characters_;
};

}  // namespace pumice
