#include "pumice/data/source_problems.h"

#include <utf8proc.h>

#include <cstdio>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {

std::string text_fault(const std::string& text) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t point;
    const utf8proc_ssize_t length = utf8proc_iterate(bytes + at, utf8proc_ssize_t(text.size() - at), &point);
    if (length <= 0) {
      char byte[8];
      std::snprintf(byte, sizeof byte, "0x%02x", unsigned(bytes[at]));
      return concat_text("is not UTF-8 (byte ", at, " is ", byte, ")");
    }
    if (point == 0) { return concat_text("holds a NUL byte (byte ", at, ")"); }
    at += size_t(length);
  }
  return "";
}

std::string caption_fault(const std::string& caption) {
  if (caption.empty()) { return "the caption is empty"; }
  return caption.size() <= kLongestCaption ? "" : concat_text("the caption has ", caption.size(), " bytes, more than ", kLongestCaption);
}

void SourceProblems::keep(const std::string& message) {
  if (first_.size() < 10) { first_.push_back(message); }
}

void SourceProblems::left_out(const std::string& message) {
  if (left_out_++ == 0) { first_left_out_ = message; }
  keep(message);
}

void SourceProblems::check_caption(const std::string& place, const std::string& caption) {
  const std::string fault = text_fault(caption);
  if (fault.empty()) { return; }
  const std::string message = place + ": the caption " + fault;
  if (odd_captions_++ == 0) { first_odd_ = message; }
  keep(message);
}

void SourceProblems::warn(const std::string& message) {
  warnings_.push_back(message);
  keep(message);
}

std::string SourceProblems::report(int64_t given, const std::string& what) const {
  std::vector<std::string> parts;
  if (left_out_) { parts.push_back(concat_text("left out ", left_out_, " of ", given, " ", what, "; the first: ", first_left_out_)); }
  if (odd_captions_) {
    parts.push_back(concat_text("captions that are no proper text: ", odd_captions_, "; the first: ", first_odd_, ". Save them as UTF-8"));
  }
  parts.insert(parts.end(), warnings_.begin(), warnings_.end());
  return join(parts, "; ");
}

}  // namespace pumice
