#include <algorithm>
#include <queue>
#include <unordered_set>

#include "pumice/data/tokenizer_impl.h"
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

}  // namespace

Tokenizer Tokenizer::train(const std::vector<std::string>& texts, const TokenizerTraining& options) {
  REQUIRE(UsageError, options.vocab_size >= 257, "[tokenizer] a vocabulary needs the 256 bytes and end-of-text, at least 257 tokens, got ", options.vocab_size);
  auto impl = std::make_unique<Impl>();
  impl->normalization.lowercase = options.lowercase;
  impl->pretokenizer = std::make_unique<Pretokenizer>(kGpt2Pattern, false);
  // Bytes take the first ids in the order of their printable alphabet, as other trainers give them.
  std::vector<std::pair<std::string, int>> spelled;
  for (int b = 0; b < 256; ++b) { spelled.emplace_back(to_byte_alphabet(std::string(1, char(b))), b); }
  std::sort(spelled.begin(), spelled.end());
  for (const auto& [text, b] : spelled) {
    impl->ids[std::string(1, char(b))] = int32_t(impl->pieces.size());
    impl->pieces.push_back(std::string(1, char(b)));
  }

  std::map<std::string, int64_t> counts;
  for (const std::string& text : texts) {
    impl->pretokenizer->split(impl->normalization.apply(text), [&](std::string_view word) { ++counts[std::string(word)]; });
  }
  std::vector<Word> words;
  for (const auto& [text, count] : counts) {
    Word word{{}, count};
    for (char c : text) { word.symbols.push_back(impl->ids.at(std::string(1, c))); }
    words.push_back(std::move(word));
  }
  Pairs pairs(std::move(words));
  PairKey best;
  while (int(impl->pieces.size()) + 1 < options.vocab_size && pairs.best(best)) {
    const int32_t left = int32_t(best >> 32), right = int32_t(uint32_t(best));
    std::string piece = impl->pieces[size_t(left)] + impl->pieces[size_t(right)];
    // Another pair may have made the same bytes already; its id serves both.
    auto [entry, fresh] = impl->ids.emplace(piece, int32_t(impl->pieces.size()));
    if (fresh) { impl->pieces.push_back(piece); }
    impl->merges.emplace_back(left, right);
    pairs.merge(best, entry->second);
  }
  impl->added.push_back({int32_t(impl->pieces.size()), "<|endoftext|>", true});
  impl->index_merges();
  return Tokenizer(std::move(impl));
}

}  // namespace pumice
