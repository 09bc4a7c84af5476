#include "pumice/data/tokenizer/pretokenizer.h"

#include <algorithm>
#include <map>

#include "pumice/data/tokenizer/byte_alphabet.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/normalizer.h"
#include "pumice/data/tokenizer/regex.h"
#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"

namespace pumice {

std::string_view Pretokenizer::Words::make(std::string text) {
  bytes += text.size();
  REQUIRE(FormatError, bytes <= most, "[tokenizer] the pre-tokenizer's steps make more than ", most, " bytes of one text");
  return made.emplace_back(std::move(text));
}

Pretokenizer Pretokenizer::parse(const JsonPart& part) {
  Pretokenizer p;
  p.add(part);
  return p;
}

void Pretokenizer::add(const JsonPart& part) {
  if (part.value().is_null()) { return; }
  if (spells_last_) { spell(); }  // not the last step after all
  const std::string type = part.type();
  if (type == "ByteLevel") {
    if (part.flag("add_prefix_space", true)) { add_prefix(" ", false); }
    if (part.flag("use_regex", true)) { add_split(Regex(kGpt2Pattern), Behaviour::isolated, false); }
    byte_level_ = spells_last_ = true;
  } else if (type == "Split") {
    add_split(pattern_in(part.at("pattern")), behaviour_in(part.at("behavior")), part.flag("invert", false));
  } else if (type == "Digits") {
    add_split(Regex("\\p{N}"), part.flag("individual_digits", false) ? Behaviour::isolated : Behaviour::contiguous, false);
  } else if (type == "Punctuation") {
    add_split(Regex("[\\p{P}$+<=>^`|~]"), part.has("behavior") ? behaviour_in(part.at("behavior")) : Behaviour::isolated, false);
  } else if (type == "Whitespace") { add_split(Regex(R"([\w\x{200c}\x{200d}]+|[^\w\s\x{200c}\x{200d}]+)"), Behaviour::removed, true); }
  else if (type == "WhitespaceSplit") { add_split(Regex("\\s"), Behaviour::removed, false); }
  else if (type == "CharDelimiterSplit") {
    add_split(Regex::literal(part.non_empty("delimiter", "")), Behaviour::removed, false);
  } else if (type == "Metaspace") { add_metaspace(part); }
  else if (type == "Sequence") {
    part.at("pretokenizers").each([&](const JsonPart& step) { add(step); });
  } else { part.unknown_type("ByteLevel, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, Metaspace, Sequence"); }
}

Pretokenizer::Behaviour Pretokenizer::behaviour_in(const JsonPart& part) {
  static const std::map<std::string, Behaviour> names = {{"Removed", Behaviour::removed}, {"Isolated", Behaviour::isolated},
      {"MergedWithPrevious", Behaviour::merged_with_previous}, {"MergedWithNext", Behaviour::merged_with_next},
      {"Contiguous", Behaviour::contiguous}};
  auto found = names.find(part.text());
  if (found == names.end()) {
    part.fail("'" + part.text() + "' is not supported (Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous)");
  }
  return found->second;
}

// Each word becomes its matches and what lies between them; `behaviour` says what happens to the matches.
void Pretokenizer::add_split(Regex pattern, Behaviour behaviour, bool invert) {
  steps_.push_back([pattern = std::move(pattern), behaviour, invert](Words& words) {
    struct Range { size_t from, to; bool match; };
    std::vector<Word> out;
    std::vector<Range> ranges, kept;
    for (const Word& word : words.list) {
      ranges.clear();
      size_t done = 0;
      auto push = [&](size_t from, size_t to, bool match) {
        if (from < to) { ranges.push_back({from, to, match != invert}); }
      };
      pattern.each(word.text, [&](size_t from, size_t to) {
        push(done, from, false);
        push(from, to, true);
        done = to;
      });
      push(done, word.text.size(), false);
      const bool next = behaviour == Behaviour::merged_with_next;
      if (next) { std::reverse(ranges.begin(), ranges.end()); }
      kept.clear();
      bool before = false;  // was the previous range a match
      for (const Range& r : ranges) {
        const bool single = behaviour == Behaviour::isolated || behaviour == Behaviour::removed;
        const bool joins = single ? false : behaviour == Behaviour::contiguous ? r.match == before : r.match && !before;
        before = r.match;
        if (behaviour == Behaviour::removed && r.match) { continue; }
        if (!joins || kept.empty()) { kept.push_back(r); }
        else if (next) { kept.back().from = r.from; }
        else { kept.back().to = r.to; }
      }
      if (next) { std::reverse(kept.begin(), kept.end()); }
      for (const Range& r : kept) { out.push_back({word.text.substr(r.from, r.to - r.from), word.first && r.from == 0}); }
    }
    words.list = std::move(out);
  });
}

void Pretokenizer::add_prefix(const std::string& prefix, bool only_first) {
  steps_.push_back([prefix, only_first](Words& words) {
    for (Word& word : words.list) {
      if ((only_first && !word.first) || word.text.substr(0, prefix.size()) == prefix) { continue; }
      word.text = words.make(prefix + std::string(word.text));
    }
  });
}

void Pretokenizer::add_metaspace(const JsonPart& part) {
  const std::string mark = part.text("replacement", "\u2581");
  if (mark.empty() || character(mark) != mark.size()) { part.at("replacement").fail("must be one character"); }
  const std::string scheme = part.text("prepend_scheme", part.flag("add_prefix_space", true) ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") { part.at("prepend_scheme").fail("must be always, first or never"); }
  steps_.push_back([space = Regex::literal(" "), mark](Words& words) {
    for (Word& word : words.list) { word.text = words.make(space.replace(std::string(word.text), mark)); }
  });
  if (scheme != "never") { add_prefix(mark, scheme == "first"); }
  if (part.flag("split", true)) { add_split(Regex::literal(mark), Behaviour::merged_with_next, false); }
}

void Pretokenizer::spell() {
  spells_last_ = false;
  steps_.push_back([](Words& words) {
    for (Word& word : words.list) { word.text = words.make(to_byte_alphabet(word.text)); }
  });
}

void Pretokenizer::split(std::string_view text, bool first, const std::function<void(std::string_view)>& word) const {
  Words words{{{text, first}}, {}, 0, growth_limit(text.size())};
  for (const Step& step : steps_) { step(words); }
  for (const Word& w : words.list) {
    if (!w.text.empty()) { word(w.text); }
  }
}

}  // namespace pumice
