// What is done to text before it is split: the "normalizer" of a tokenizer.json.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace pumice {

class JsonPart;

class Normalizer {
 public:
  // NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend and Sequence of them; anything else is a FormatError.
  static Normalizer parse(const JsonPart& part);
  std::string apply(std::string text) const;  // of valid UTF-8

 private:
  void add(const JsonPart& part);
  std::vector<std::function<std::string(const std::string&)>> steps_;
};

class Regex;
// {"String": "..."} or {"Regex": "..."}.
Regex pattern_in(const JsonPart& part);

}  // namespace pumice
