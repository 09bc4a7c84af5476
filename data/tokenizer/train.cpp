#include <algorithm>
#include <array>
#include <map>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "pumice/data/tokenizer.h"
#include "pumice/data/tokenizer/byte_alphabet.h"
#include "pumice/data/tokenizer/document.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/normalizer.h"
#include "pumice/data/tokenizer/pretokenizer.h"
#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

struct Word { std::vector<int32_t> symbols; int64_t count; };
using PairKey = uint64_t;
PairKey key_of(int32_t left, int32_t right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }

// Counts of neighbouring symbols over all words, with the words each pair occurs in, kept up to date as pairs are merged.
class Pairs {
 public:
  explicit Pairs(std::vector<Word> words) : words_(std::move(words)) {
    for (size_t w = 0; w < words_.size(); ++w) { count_word(int32_t(w), +1); }
    for (const auto& [key, count] : counts_) { heap_.push({count, key}); }
  }

  // The pair to merge next; false when none occurs twice.
  bool best(PairKey& key) {
    while (!heap_.empty()) {
      auto [count, k] = heap_.top();
      heap_.pop();
      auto now = counts_.find(k);
      if (now == counts_.end() || now->second != count) { continue; }  // stale: a fresh entry was pushed when it changed
      if (count < 2) { return false; }
      key = k;
      return true;
    }
    return false;
  }

  void merge(PairKey key, int32_t merged) {
    const int32_t left = int32_t(key >> 32), right = int32_t(uint32_t(key));
    std::vector<int32_t> where(places_[key].begin(), places_[key].end());
    std::sort(where.begin(), where.end());
    changed_.clear();
    for (int32_t w : where) {
      count_word(w, -1);
      std::vector<int32_t>& s = words_[size_t(w)].symbols;
      size_t to = 0;
      for (size_t from = 0; from < s.size(); ++from) {
        if (from + 1 < s.size() && s[from] == left && s[from + 1] == right) {
          s[to++] = merged;
          ++from;
        } else {
          s[to++] = s[from];
        }
      }
      s.resize(to);
      count_word(w, +1);
    }
    for (PairKey k : changed_) {
      auto now = counts_.find(k);
      if (now != counts_.end() && now->second > 0) { heap_.push({now->second, k}); }
    }
    counts_.erase(key);
  }

 private:
  void count_word(int32_t w, int64_t sign) {
    const Word& word = words_[size_t(w)];
    for (size_t i = 0; i + 1 < word.symbols.size(); ++i) {
      PairKey k = key_of(word.symbols[i], word.symbols[i + 1]);
      counts_[k] += sign * word.count;
      if (sign > 0) { places_[k].insert(w); }
      changed_.insert(k);
    }
  }

  struct Entry {
    int64_t count;
    PairKey key;
    bool operator<(const Entry& other) const { return count != other.count ? count < other.count : key > other.key; }
  };
  std::vector<Word> words_;
  std::unordered_map<PairKey, int64_t> counts_;
  std::unordered_map<PairKey, std::unordered_set<int32_t>> places_;
  std::unordered_set<PairKey> changed_;
  std::priority_queue<Entry> heap_;
};

// How often each word occurs, as the tokenizer to be trained will cut the texts.
std::map<std::string, int64_t> words_of(const std::vector<std::string>& texts, bool lowercase) {
  const std::string source = "training";
  const nlohmann::json split = tokenizer_document::byte_level(true);
  const Pretokenizer pretokenizer = Pretokenizer::parse({split, source, "pre_tokenizer"});
  std::map<std::string, int64_t> counts;
  for (const std::string& text : texts) {
    for (size_t begin = 0; begin < text.size(); ++begin) {  // over a byte that is not UTF-8: nothing is learned from those
      std::string valid = text.substr(begin, valid_prefix(std::string_view(text).substr(begin)));
      begin += valid.size();
      if (lowercase) { valid = lower(valid); }
      pretokenizer.split(valid, true, [&](std::string_view word) { ++counts[std::string(word)]; });
    }
  }
  return counts;
}

// Pieces by id, as bytes. Bytes take the first ids in the order of their printable alphabet, as other trainers give them.
struct Vocabulary {
  std::vector<std::string> pieces;
  std::unordered_map<std::string, int32_t> ids;

  Vocabulary() {
    std::vector<std::pair<std::string, int>> spelled;
    for (int b = 0; b < 256; ++b) { spelled.emplace_back(to_byte_alphabet(std::string(1, char(b))), b); }
    std::sort(spelled.begin(), spelled.end());
    for (const auto& [text, b] : spelled) { add(std::string(1, char(b))); }
  }
  int32_t add(const std::string& piece) {
    auto [entry, fresh] = ids.emplace(piece, int32_t(pieces.size()));
    if (fresh) { pieces.push_back(piece); }
    return entry->second;  // another pair may have made the same bytes already; its id serves both
  }
};

}  // namespace

Tokenizer Tokenizer::train(const std::vector<std::string>& texts, const TokenizerTraining& options) {
  REQUIRE(UsageError, options.vocab_size >= 257, "[tokenizer] a vocabulary needs the 256 bytes and end-of-text, at least 257 tokens, got ",
          options.vocab_size, ". Raise --vocab-size (TokenizerTraining::vocab_size)");
  Vocabulary vocabulary;
  std::vector<Word> words;
  for (const auto& [text, count] : words_of(texts, options.lowercase)) {
    Word word{{}, count};
    for (char c : text) { word.symbols.push_back(vocabulary.ids.at(std::string(1, c))); }
    words.push_back(std::move(word));
  }
  namespace document = tokenizer_document;
  Pairs pairs(std::move(words));
  PairKey best;
  std::vector<std::array<int32_t, 3>> merges;
  while (int(vocabulary.pieces.size()) + 1 < options.vocab_size && pairs.best(best)) {
    const auto left = int32_t(best >> 32), right = int32_t(uint32_t(best));
    const int32_t made = vocabulary.add(vocabulary.pieces[size_t(left)] + vocabulary.pieces[size_t(right)]);
    merges.push_back({left, right, made});
    pairs.merge(best, made);
  }
  Bpe model;
  const auto end = int32_t(vocabulary.pieces.size());
  model.reserve(vocabulary.pieces.size(), merges.size());
  for (int32_t id = 0; id < end; ++id) { model.add(to_byte_alphabet(vocabulary.pieces[size_t(id)]), id); }
  for (const auto& [left, right, made] : merges) { model.add_merge(left, right, made); }
  document::Steps steps;
  if (options.lowercase) { steps.normalizer = {{"type", "Lowercase"}}; }
  steps.pre_tokenizer = steps.decoder = document::byte_level(true);
  return Tokenizer(document::tokenizer_of(std::move(model), {document::added_token(end, "<|endoftext|>")}, std::move(steps), "training"));
}

}  // namespace pumice
