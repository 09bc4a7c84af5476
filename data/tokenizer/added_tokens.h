// Tokens that are cut out of the text before anything else happens to it: the "added_tokens" of a tokenizer.json.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pumice {

class JsonPart;
class Normalizer;

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // not text: decoding may leave it out
  bool normalized = false;   // looked for in normalized text, in its own normalized form
  bool single_word = false;  // not where a letter, mark, digit or connector touches it
  bool lstrip = false, rstrip = false;  // takes the white space beside it along
};

AddedToken added_token_in(const JsonPart& part);  // one entry of the array

class AddedTokens {
 public:
  AddedTokens() = default;
  // Throws FormatError naming `source` where an id or a content is there twice.
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer, const std::string& source);
  // `list` is the array; null is an empty one.
  static AddedTokens parse(const JsonPart& list, const Normalizer& normalizer);

  // Calls ordinary(begin, end) and token(id) in the order of `text`. The longest of the tokens at the leftmost place wins. Bytes that are
  // not UTF-8 are neither white space nor parts of words.
  using Ordinary = std::function<void(size_t begin, size_t end)>;
  using Found = std::function<void(const AddedToken&)>;
  void cut(std::string_view text, bool normalized, const Ordinary& ordinary, const Found& token) const;

  const AddedToken* find(int32_t id) const;
  const AddedToken* find(const std::string& content) const;
  const std::vector<AddedToken>& all() const { return tokens_; }
  bool any_normalized() const { return !normalized_.empty(); }

 private:
  std::string add(AddedToken token, const Normalizer& normalizer);  // "", or what is wrong: "has the id 5 of an earlier one"

  // The tokens to look for, by their first byte, the longest first.
  class Patterns {
   public:
    void add(const std::string& text, size_t index);  // in any order; then sort() once
    void sort();
    bool empty() const { return total_ == 0; }
    // The first token at or after `from`; false when there is none.
    bool find(std::string_view text, size_t from, size_t& at, size_t& length, size_t& index) const;

   private:
    struct Pattern { std::string text; size_t index; };
    std::vector<Pattern> by_first_[256];
    size_t total_ = 0;
  };
  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_map<std::string, size_t> by_content_;
  Patterns raw_, normalized_;
};

}  // namespace pumice
