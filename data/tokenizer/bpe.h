// Byte-pair encoding (Sennrich, Haddow, Birch 2016, arXiv:1508.07909) of one word: the "model" of a tokenizer.json.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace pumice {

class JsonPart;

constexpr int32_t kMaxTokenId = 10'000'000;

class Bpe {
 public:
  Bpe() = default;
  Bpe(Bpe&&) = default;  // no copies: two would share what the cache holds of one
  Bpe& operator=(Bpe&&) = default;
  // {"type": "BPE", "vocab": {piece: id}, "merges": [...]} with unk_token, fuse_unk, byte_fallback, ignore_merges and end_of_word_suffix.
  // Throws FormatError, also for another type and for dropout and continuing_subword_prefix.
  static Bpe parse(const JsonPart& part);

  // The same step by step, for vocabularies in other formats. `pieces` is how many will follow: ids far beyond it are refused.
  void reserve(size_t pieces, size_t merges);
  std::string add(std::string_view piece, int32_t id);  // "", or what is wrong: "has the id 5 of another piece"
  void read_vocabulary(const JsonPart& vocab);          // {piece: id}; reserves, and throws FormatError naming the entry
  void add_merge(int32_t left, int32_t right, int32_t made);           // of the next rank
  bool add_merge(const std::string& left, const std::string& right);  // false where one of the two, or both together, is no piece
  void end_words_with(const std::string& suffix) { suffix_ = suffix; }
  void take_whole_words() { ignore_merges_ = true; }  // a word that is a piece is not put together

  // Appends the ids of `word`: pairs of characters and pieces are merged, the pair of lowest rank first, the leftmost of equal ones.
  // With `spell` the word is bytes, and is spelled in the byte alphabet first. A character that the vocabulary lacks becomes its bytes
  // <0x41> (byte_fallback), or the unknown token, or nothing when there is none. Results are kept in a cache of bounded size per thread.
  void encode(std::string_view word, bool spell, std::vector<int32_t>& out) const;

  int32_t id_of(std::string_view piece) const;      // -1 when there is no such piece
  const std::string* piece_of(int32_t id) const;    // null when there is no such id
  int32_t size() const { return int32_t(pieces_.size()); }  // one more than the largest id
  const std::vector<std::string>& pieces() const { return pieces_; }  // by id; empty where no piece has the id
  const std::vector<std::pair<int32_t, int32_t>>& merges() const { return merges_; }  // by rank
  const std::string& suffix() const { return suffix_; }
  const std::string& unknown() const { return unk_token_; }
  bool fuse_unknown() const { return fuse_unk_; }
  bool byte_fallback() const { return byte_fallback_; }
  bool ignore_merges() const { return ignore_merges_; }

 private:
  struct Symbol { int32_t id, previous, next; };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  struct Merge { int32_t rank, id; };

  static uint64_t next_owner();
  void read_merges(const JsonPart& part);
  void symbols_of(std::string_view word, std::vector<Symbol>& symbols) const;
  void merge(std::vector<Symbol>& symbols) const;
  void encode_uncached(std::string_view word, std::vector<int32_t>& out) const;

  std::vector<std::string> pieces_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::vector<std::pair<int32_t, int32_t>> merges_;
  std::unordered_map<uint64_t, Merge> merge_of_;  // of left << 32 | right
  std::string unk_token_, suffix_;
  int32_t unk_ = -1;
  int32_t byte_ids_[256] = {};  // of <0x00>.. with byte_fallback
  bool fuse_unk_ = false, byte_fallback_ = false, ignore_merges_ = false;
  size_t expected_ = 0;  // pieces, as reserve() was told
  uint64_t owner_ = next_owner();  // names this vocabulary in the cache; never used twice
};

}  // namespace pumice
