#include "pumice/data/tokenizer/added_tokens.h"

#include <algorithm>

#include "pumice/data/tokenizer/bpe.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/normalizer.h"
#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"

namespace pumice {

AddedToken added_token_in(const JsonPart& part) {
  if (!part.has("id") || !part.has("content")) { part.fail("needs an id and a content"); }
  AddedToken t;
  t.id = part.at("id").integer(0, kMaxTokenId, "an id");
  t.content = part.at("content").text();
  t.special = part.flag("special", false);
  t.normalized = part.flag("normalized", !t.special);
  t.single_word = part.flag("single_word", false);
  t.lstrip = part.flag("lstrip", false);
  t.rstrip = part.flag("rstrip", false);
  if (t.content.empty()) { part.at("content").fail("is empty"); }
  return t;
}

void AddedTokens::Patterns::add(const std::string& text, size_t index) {
  if (text.empty()) { return; }  // normalization left nothing of it
  by_first_[static_cast<unsigned char>(text[0])].push_back({text, index});
  ++total_;
}

void AddedTokens::Patterns::sort() {
  for (auto& list : by_first_) {
    std::stable_sort(list.begin(), list.end(), [](const Pattern& a, const Pattern& b) { return a.text.size() > b.text.size(); });
  }
}

bool AddedTokens::Patterns::find(std::string_view text, size_t from, size_t& at, size_t& length, size_t& index) const {
  for (at = from; at < text.size(); ++at) {
    for (const Pattern& p : by_first_[static_cast<unsigned char>(text[at])]) {
      if (text.compare(at, p.text.size(), p.text) == 0) {
        length = p.text.size();
        index = p.index;
        return true;
      }
    }
  }
  return false;
}

std::string AddedTokens::add(AddedToken t, const Normalizer& normalizer) {
  const size_t index = tokens_.size();
  if (!by_id_.emplace(t.id, index).second) { return concat_text("has the id ", t.id, " of an earlier one"); }
  if (!by_content_.emplace(t.content, index).second) { return "has the content '" + t.content + "' of an earlier one"; }
  if (t.normalized) { normalized_.add(normalizer.apply(t.content), index); }
  else { raw_.add(t.content, index); }
  tokens_.push_back(std::move(t));
  return "";
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer, const std::string& source) {
  for (AddedToken& t : tokens) {
    const std::string fault = add(std::move(t), normalizer);
    REQUIRE(FormatError, fault.empty(), "[tokenizer] ", source, ": an added token ", fault);
  }
  raw_.sort();
  normalized_.sort();
}

AddedTokens AddedTokens::parse(const JsonPart& list, const Normalizer& normalizer) {
  AddedTokens a;
  if (list.value().is_null()) { return a; }
  list.each([&](const JsonPart& part) {
    if (const std::string fault = a.add(added_token_in(part), normalizer); !fault.empty()) { part.fail(fault); }
  });
  a.raw_.sort();
  a.normalized_.sort();
  return a;
}

void AddedTokens::cut(std::string_view text, bool normalized, const Ordinary& ordinary, const Found& token) const {
  const Patterns& patterns = normalized ? normalized_ : raw_;
  size_t done = 0, from = 0, at = 0, length = 0, index = 0;
  while (!patterns.empty() && patterns.find(text, from, at, length, index)) {
    const AddedToken& t = tokens_[index];
    size_t end = from = at + length;
    if (t.single_word && (is_word(last_character(text.substr(0, at))) || is_word(first_character(text.substr(end))))) { continue; }
    while (t.lstrip && at > done && is_space(last_character(text.substr(0, at)))) { at -= last_character(text.substr(0, at)).size(); }
    while (t.rstrip && end < text.size() && is_space(first_character(text.substr(end)))) { end += first_character(text.substr(end)).size(); }
    if (at > done) { ordinary(done, at); }
    token(t);
    done = std::max(done, end);
  }
  if (done < text.size()) { ordinary(done, text.size()); }
}

const AddedToken* AddedTokens::find(int32_t id) const {
  auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(const std::string& content) const {
  auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

}  // namespace pumice
