// What a source of pairs leaves out or finds odd when it is opened: counted, and the first few kept with their places.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace pumice {

class SourceProblems {
 public:
  void left_out(const std::string& message);                       // "train.csv line 7: the caption is empty"
  void check_caption(const std::string& place, const std::string& caption);  // notes text that is not UTF-8; it is used as it is
  void warn(const std::string& message);                           // about the source as a whole
  bool none() const { return first_.empty(); }
  // One line: "left out 2 of 40 entries; the first: ..."; empty if there is nothing to say. `what` is what `given` counts.
  std::string report(int64_t given, const std::string& what) const;
  const std::vector<std::string>& first() const { return first_; }  // at most ten

 private:
  void keep(const std::string& message);
  int64_t left_out_ = 0, odd_captions_ = 0;
  std::string first_left_out_, first_odd_;
  std::vector<std::string> first_, warnings_;
};

// Bytes of a caption. Longer text is none: a model reads a few dozen tokens of it, and every pass would encode it all.
inline constexpr size_t kLongestCaption = size_t(1) << 16;

// "is not UTF-8 (byte 4 is 0xe9)", "holds a NUL byte (byte 4)"; "" for text that is in order.
std::string text_fault(const std::string& text);
// "the caption is empty", "the caption has 70000 bytes, more than 65536"; "" for one that can be used.
std::string caption_fault(const std::string& caption);

}  // namespace pumice
