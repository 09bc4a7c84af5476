#include "pumice/data/tokenizer/normalizer.h"

#include <map>

#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/regex.h"
#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"

namespace pumice {

Regex pattern_in(const JsonPart& part) {
  if (part.has("Regex")) {
    try {
      return Regex(part.at("Regex").text());
    } catch (const FormatError& e) {
      part.fail(std::string("is not a pattern. ") + e.what());
    }
  }
  if (!part.has("String")) { part.fail("must be {\"Regex\": \"...\"} or {\"String\": \"...\"}"); }
  std::string text = part.at("String").text();
  if (text.empty()) { part.at("String").fail("is empty"); }
  return Regex::literal(text);
}

Normalizer Normalizer::parse(const JsonPart& part) {
  Normalizer n;
  n.add(part);
  return n;
}

void Normalizer::add(const JsonPart& part) {
  if (part.value().is_null()) { return; }
  static const std::map<std::string, Form> forms = {{"NFC", Form::nfc}, {"NFD", Form::nfd}, {"NFKC", Form::nfkc}, {"NFKD", Form::nfkd}};
  const std::string type = part.type();
  if (auto form = forms.find(type); form != forms.end()) {
    steps_.push_back([f = form->second](const std::string& text) { return normal_form(text, f); });
  } else if (type == "Lowercase") { steps_.push_back(lower); }
  else if (type == "StripAccents") { steps_.push_back(without_marks); }
  else if (type == "Strip") {
    steps_.push_back([left = part.flag("strip_left", true), right = part.flag("strip_right", true)](const std::string& text) {
      return trimmed(text, left, right);
    });
  } else if (type == "Replace") {
    steps_.push_back([pattern = pattern_in(part.at("pattern")), content = part.at("content").text()](const std::string& text) {
      return pattern.replace(text, content);
    });
  } else if (type == "Prepend") {
    steps_.push_back([prefix = part.at("prepend").text()](const std::string& text) { return text.empty() ? text : prefix + text; });
  } else if (type == "Sequence") {
    part.at("normalizers").each([&](const JsonPart& step) { add(step); });
  } else { part.unknown_type("NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, Sequence"); }
}

std::string Normalizer::apply(std::string text) const {
  const size_t most = growth_limit(text.size());
  for (const auto& step : steps_) {
    text = step(text);
    REQUIRE(FormatError, text.size() <= most, "[tokenizer] the normalizer's replacements make more than ", most, " bytes of one text");
  }
  return text;
}

}  // namespace pumice
