#include "pumice/data/tokenizer/bpe.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <optional>

#include "pumice/data/tokenizer/byte_alphabet.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr int32_t kNone = -1;
constexpr size_t kMostHoles = 1 << 16;  // ids are places in a list: one damaged id must not cost the memory of ten million

uint64_t pair_key(int32_t left, int32_t right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }

using Pair = std::pair<std::string_view, std::string_view>;

std::optional<Pair> merge_in(const nlohmann::json& j) {
  if (j.is_string()) {
    const std::string_view text = j.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos) { return Pair(text.substr(0, space), text.substr(space + 1)); }
  } else if (j.is_array() && j.size() == 2 && j[0].is_string() && j[1].is_string()) {
    return Pair(j[0].get_ref<const std::string&>(), j[1].get_ref<const std::string&>());
  }
  return std::nullopt;
}

// Words that were encoded before, one per slot: a new word of the same slot takes the place of the old one, so the memory is bounded
// and tokenizers that alternate in one thread do not empty each other's cache. A cache per thread needs no lock.
struct Slot {
  uint64_t owner = 0;
  std::string word;
  std::vector<int32_t> ids;
};
constexpr size_t kSlots = 1 << 14, kLongestCached = 64;

Slot& slot_of(uint64_t owner, std::string_view word) {
  thread_local std::unique_ptr<Slot[]> slots = std::make_unique<Slot[]>(kSlots);
  return slots[(std::hash<std::string_view>()(word) ^ owner * 0x9e3779b97f4a7c15ull) % kSlots];
}

}  // namespace

Bpe Bpe::parse(const JsonPart& part) {
  const bool untyped = part.has("merges") && !part.has("type");  // files of before 2020
  if (!untyped && part.type() != "BPE") { part.unknown_type("BPE"); }
  if (!part.text("continuing_subword_prefix", "").empty()) { part.at("continuing_subword_prefix").fail("is not supported"); }
  if (part.has("dropout") && part.value()["dropout"] != 0.0) { part.at("dropout").fail("is not supported: ids would be random"); }
  Bpe bpe;
  bpe.suffix_ = part.text("end_of_word_suffix", "");
  bpe.unk_token_ = part.text("unk_token", "");
  bpe.fuse_unk_ = part.flag("fuse_unk", false);
  bpe.byte_fallback_ = part.flag("byte_fallback", false);
  bpe.ignore_merges_ = part.flag("ignore_merges", false);
  bpe.read_vocabulary(part.at("vocab"));
  if (!bpe.unk_token_.empty() && (bpe.unk_ = bpe.id_of(bpe.unk_token_)) == kNone) {
    part.at("unk_token").fail("'" + bpe.unk_token_ + "' is not in vocab");
  }
  for (int b = 0; bpe.byte_fallback_ && b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", unsigned(b));
    bpe.byte_ids_[b] = bpe.id_of(name);
  }
  bpe.read_merges(part.at("merges"));
  return bpe;
}

uint64_t Bpe::next_owner() {
  static std::atomic<uint64_t> owners{0};
  return ++owners;
}

void Bpe::reserve(size_t pieces, size_t merges) {
  expected_ = pieces;
  pieces_.reserve(pieces);
  ids_.reserve(pieces);
  merges_.reserve(merges);
  merge_of_.reserve(merges);
}

std::string Bpe::add(std::string_view piece, int32_t id) {
  if (size_t(id) > std::max(kMostHoles, 64 * expected_)) {
    return concat_text("has the id ", id, ", far beyond the ", expected_, " pieces of the vocabulary");
  }
  if (id < size() && !pieces_[size_t(id)].empty()) { return concat_text("has the id ", id, " of another piece"); }
  if (!ids_.emplace(piece, id).second) { return "is there twice"; }
  if (size() <= id) { pieces_.resize(size_t(id) + 1); }
  pieces_[size_t(id)] = piece;
  return "";
}

// Places are named only in complaints: there are as many as pieces.
void Bpe::read_vocabulary(const JsonPart& vocab) {
  if (!vocab.value().is_object()) { vocab.fail("must be an object"); }
  reserve(vocab.value().size(), 0);
  for (const auto& [piece, value] : vocab.value().items()) {
    const bool fits = value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t(kMaxTokenId);
    const int32_t id = fits ? value.get<int32_t>() : vocab.entry(piece, value).integer(0, kMaxTokenId, "an id");
    if (piece.empty()) { continue; }  // nothing is ever spelled by it
    if (const std::string fault = add(piece, id); !fault.empty()) { vocab.entry(piece, value).fail(fault); }
  }
}

void Bpe::read_merges(const JsonPart& part) {
  if (!part.value().is_array()) { part.fail("must be an array"); }
  reserve(expected_, part.value().size());
  std::string made;
  for (size_t i = 0; i < part.value().size(); ++i) {
    const auto pair = merge_in(part.value()[i]);
    if (!pair) { part.entry(i).fail("must be \"left right\" or [\"left\", \"right\"]"); }
    made.assign(pair->first).append(pair->second);
    const int32_t a = id_of(pair->first), b = id_of(pair->second), c = id_of(made);
    if (a == kNone || b == kNone || c == kNone) { part.entry(i).fail("names a piece that model.vocab lacks"); }
    add_merge(a, b, c);
  }
}

void Bpe::add_merge(int32_t left, int32_t right, int32_t made) {
  merge_of_.insert_or_assign(pair_key(left, right), Merge{int32_t(merges_.size()), made});
  merges_.emplace_back(left, right);
}

bool Bpe::add_merge(const std::string& left, const std::string& right) {
  const int32_t a = id_of(left), b = id_of(right), made = id_of(left + right);
  if (a == kNone || b == kNone || made == kNone) { return false; }
  add_merge(a, b, made);
  return true;
}

int32_t Bpe::id_of(std::string_view piece) const {
  auto found = ids_.find(piece);
  return found == ids_.end() ? kNone : found->second;
}

const std::string* Bpe::piece_of(int32_t id) const {
  return id >= 0 && id < size() && !pieces_[size_t(id)].empty() ? &pieces_[size_t(id)] : nullptr;
}

void Bpe::encode(std::string_view word, bool spell, std::vector<int32_t>& out) const {
  if (word.size() > kLongestCached) { return encode_uncached(spell ? to_byte_alphabet(word) : std::string(word), out); }
  Slot& slot = slot_of(owner_, word);
  if (slot.owner != owner_ || slot.word != word) {
    slot.owner = owner_;
    slot.word = word;
    slot.ids.clear();
    encode_uncached(spell ? to_byte_alphabet(word) : std::string(word), slot.ids);
  }
  out.insert(out.end(), slot.ids.begin(), slot.ids.end());
}

void Bpe::encode_uncached(std::string_view word, std::vector<int32_t>& out) const {
  if (ignore_merges_) {
    if (int32_t whole = id_of(word); whole != kNone) {
      out.push_back(whole);
      return;
    }
  }
  std::vector<Symbol> symbols;
  symbols_of(word, symbols);
  if (symbols.empty()) { return; }
  merge(symbols);
  for (int32_t i = 0; i != kNone; i = symbols[size_t(i)].next) { out.push_back(symbols[size_t(i)].id); }
}

void Bpe::symbols_of(std::string_view word, std::vector<Symbol>& symbols) const {
  auto add = [&](int32_t id) { symbols.push_back({id, int32_t(symbols.size()) - 1, int32_t(symbols.size()) + 1}); };
  bool unknown = false;  // the last character was unknown: fuse_unk makes one token of a run
  std::string ended;
  for (size_t i = 0, n = 0; i < word.size(); i += n) {
    n = std::max<size_t>(1, character(word.substr(i)));  // a byte that is not UTF-8 is a character of its own
    std::string_view text = word.substr(i, n);
    if (!suffix_.empty() && i + n == word.size()) { text = ended = std::string(text) + suffix_; }
    const int32_t id = id_of(text);
    const bool as_bytes = id == kNone && byte_fallback_ &&
                          std::all_of(text.begin(), text.end(), [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] != kNone; });
    if (id != kNone) { add(id); }
    else if (as_bytes) {
      for (unsigned char b : text) { add(byte_ids_[b]); }
    } else if (unk_ != kNone && !(unknown && fuse_unk_)) { add(unk_); }
    unknown = id == kNone && !as_bytes;
  }
  if (!symbols.empty()) { symbols.back().next = kNone; }
}

// A heap of candidates over a linked list of symbols: n characters cost n log n.
void Bpe::merge(std::vector<Symbol>& symbols) const {
  struct Candidate { int32_t rank, at, id; };  // the symbol at `at` and its neighbour become `id`
  auto later = [](const Candidate& a, const Candidate& b) { return std::pair(a.rank, a.at) > std::pair(b.rank, b.at); };
  std::vector<Candidate> heap;
  heap.reserve(symbols.size());
  auto merge_at = [&](int32_t at) -> const Merge* {
    const int32_t next = symbols[size_t(at)].next;
    if (next == kNone) { return nullptr; }
    auto found = merge_of_.find(pair_key(symbols[size_t(at)].id, symbols[size_t(next)].id));
    return found == merge_of_.end() ? nullptr : &found->second;
  };
  auto consider = [&](int32_t at) {
    if (at == kNone) { return; }
    if (const Merge* m = merge_at(at)) {
      heap.push_back({m->rank, at, m->id});
      std::push_heap(heap.begin(), heap.end(), later);
    }
  };
  for (int32_t i = 0; i < int32_t(symbols.size()); ++i) { consider(i); }
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate c = heap.back();
    heap.pop_back();
    Symbol& left = symbols[size_t(c.at)];
    const Merge* m = left.id == kNone ? nullptr : merge_at(c.at);
    if (!m || m->id != c.id) { continue; }  // changed since it was pushed
    Symbol& right = symbols[size_t(left.next)];
    left.id = c.id;
    left.next = right.next;
    right.id = kNone;
    if (left.next != kNone) { symbols[size_t(left.next)].previous = c.at; }
    consider(left.previous);
    consider(c.at);
  }
}

}  // namespace pumice
