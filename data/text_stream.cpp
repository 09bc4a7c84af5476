#include "pumice/data/text_stream.h"

#include <algorithm>
#include <utility>

#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// How many bytes at the start of `text` begin a valid character (Unicode 15.0, table 3-7), without being all of it; 0 when the first cannot.
size_t begun(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  const size_t length = lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
  if (length == 0) { return 0; }
  const unsigned least = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80, most = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (text.size() < 2 || byte(1) < least || byte(1) > most) { return 1; }
  size_t count = 2;
  while (count < std::min(length, text.size()) && byte(count) >= 0x80 && byte(count) <= 0xbf) { ++count; }
  return count;
}

}  // namespace

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) { REQUIRE(UsageError, !stop.empty(), "[stop] a stop string is empty; it would end every text at once"); }
}

// Sets found_ and where it begins in held_.
bool StopStrings::find(size_t& begin) {
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos || at + stop.size() > end || (at + stop.size() == end && at > begin)) { continue; }
    begin = at;
    end = at + stop.size();
    found_ = stop;
  }
  return end != std::string::npos;
}

// Of the longest end of held_ that a stop string begins with.
size_t StopStrings::held_length() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n) {
      if (std::string_view(held_).substr(held_.size() - n) == std::string_view(stop).substr(0, n)) { longest = n; }
    }
  }
  return longest;
}

std::string StopStrings::push(std::string_view text) {
  if (!found_.empty()) { return ""; }
  held_ += text;
  size_t begin = 0;
  const bool stop = find(begin);
  if (!stop) { begin = held_.size() - held_length(); }
  std::string out = held_.substr(0, begin);
  held_.erase(0, stop ? held_.size() : begin);
  return out;
}

std::string StopStrings::finish() { return std::exchange(held_, ""); }

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  std::string out;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const size_t whole = character(rest), part = whole ? whole : begun(rest);
    if (!whole && part == rest.size()) { break; }
    out += whole ? rest.substr(0, whole) : kReplacement;
    rest.remove_prefix(std::max<size_t>(part, 1));
  }
  held_ = std::string(rest);
  return out;
}

std::string Utf8Stream::finish() { return std::exchange(held_, "").empty() ? "" : std::string(kReplacement); }

// SentencePiece decodes the bytes of a character that is not complete as up to three U+FFFD, which the next token makes another text of.
std::string TextStream::push(int32_t id) {
  ids_.push_back(id);
  const std::string text = tokenizer_.decode(ids_, true);
  size_t end = text.size();
  for (int i = 0; i < 3 && std::string_view(text).substr(0, end).ends_with(kReplacement); ++i) { end -= kReplacement.size(); }
  std::string out = pass_on(text, end);
  if (end != text.size() || !tokenizer_.cuts_after(id)) { return out; }
  if (const size_t own = tokenizer_.decode(std::span(&id, 1), true).size(); own > 0) {
    ids_ = {id};
    passed_ = own;
  }
  return out;
}

std::string TextStream::pass_on(const std::string& text, size_t end) {
  if (end <= passed_) { return ""; }
  const std::string fresh = text.substr(passed_, end - passed_);
  passed_ = end;
  return characters_.push(stops_.push(fresh));
}

std::string TextStream::finish() {
  const std::string text = tokenizer_.decode(ids_, true);
  std::string out = pass_on(text, text.size());
  out += characters_.push(stops_.finish());
  return out + characters_.finish();
}

}  // namespace pumice
