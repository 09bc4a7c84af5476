#include "pumice/data/tokenizer/bpe.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>

#include "pumice/data/tokenizer/byte_alphabet.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr int32_t kNone = -1;
constexpr size_t kMostHoles = 1 << 20;  // ids are places in a list: one damaged id must not cost the memory of ten million

uint64_t pair_key(int32_t left, int32_t right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }

std::pair<std::string, std::string> merge_in(const JsonPart& part) {
  const nlohmann::json& j = part.value();
  if (j.is_string()) {
    std::string text = j.get<std::string>();
    size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) { return {text.substr(0, space), text.substr(space + 1)}; }
  } else if (j.is_array() && j.size() == 2 && j[0].is_string() && j[1].is_string()) {
    return {j[0].get<std::string>(), j[1].get<std::string>()};
  }
  part.fail("must be \"left right\" or [\"left\", \"right\"]");
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
  bpe.read_vocabulary(part);
  bpe.read_merges(part);
  static std::atomic<uint64_t> owners{0};
  bpe.owner_ = ++owners;
  return bpe;
}

void Bpe::read_vocabulary(const JsonPart& part) {
  JsonPart vocab = part.at("vocab");
  if (!vocab.value().is_object()) { vocab.fail("must be an object"); }
  const size_t most = std::max(kMostHoles, 64 * vocab.value().size());
  for (const auto& [piece, id_json] : vocab.value().items()) {
    const JsonPart entry = vocab.entry(piece, id_json);
    const int32_t id = entry.integer(0, kMaxTokenId, "an id");
    if (piece.empty()) { continue; }  // nothing is ever spelled by it
    if (size_t(id) > most) { entry.fail(concat_text("has the id ", id, ", far beyond the ", vocab.value().size(), " pieces of the vocabulary")); }
    if (int32_t(pieces_.size()) <= id) { pieces_.resize(size_t(id) + 1); }
    if (!pieces_[size_t(id)].empty()) { entry.fail("has the id " + std::to_string(id) + " of another piece"); }
    pieces_[size_t(id)] = piece;
    ids_.emplace(piece, id);
  }
  if (!unk_token_.empty() && (unk_ = id_of(unk_token_)) == kNone) { part.at("unk_token").fail("'" + unk_token_ + "' is not in vocab"); }
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", unsigned(b));
    byte_ids_[b] = id_of(name);
  }
}

void Bpe::read_merges(const JsonPart& part) {
  part.at("merges").each([&](const JsonPart& merge) {
    auto [left, right] = merge_in(merge);
    const int32_t a = id_of(left), b = id_of(right), made = id_of(left + right);
    if (a == kNone || b == kNone || made == kNone) { merge.fail("names a piece that model.vocab lacks"); }
    merge_of_.insert_or_assign(pair_key(a, b), Merge{int32_t(merges_.size()), made});
    merges_.emplace_back(a, b);
  });
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
