#include "pumice/data/tokenizer.h"

#include <algorithm>
#include <queue>

#include "pumice/data/tokenizer_impl.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

constexpr int32_t kNone = -1;

uint64_t pair_key(int32_t left, int32_t right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }

// The code point that stands for each byte: printable ones for themselves, the others from U+0100 on in order.
const int* alphabet() {
  static const auto* table = [] {
    auto* t = new int[256];
    int next = 256;
    for (int b = 0; b < 256; ++b) { t[b] = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? b : next++; }
    return t;
  }();
  return table;
}

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string text;
  for (unsigned char b : bytes) {
    int c = alphabet()[b];
    if (c < 128) { text += char(c); }
    else {
      text += char(0xc0 | c >> 6);
      text += char(0x80 | (c & 0x3f));
    }
  }
  return text;
}

bool from_byte_alphabet(std::string_view text, std::string& bytes) {
  static const auto* back = [] {
    auto* t = new std::unordered_map<int, char>;
    for (int b = 0; b < 256; ++b) { (*t)[alphabet()[b]] = char(b); }
    return t;
  }();
  bytes.clear();
  for (size_t i = 0; i < text.size();) {
    unsigned char first = static_cast<unsigned char>(text[i]);
    int c = first;
    size_t length = 1;
    if (first >= 0x80) {
      if ((first & 0xe0) != 0xc0 || i + 1 >= text.size()) { return false; }
      c = (first & 0x1f) << 6 | (text[i + 1] & 0x3f);
      length = 2;
    }
    auto found = back->find(c);
    if (found == back->end()) { return false; }
    bytes += found->second;
    i += length;
  }
  return true;
}

void Tokenizer::Impl::index_merges() {
  for (int b = 0; b < 256; ++b) {
    auto found = ids.find(std::string(1, char(b)));
    byte_ids[b] = found == ids.end() ? kNone : found->second;
  }
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    auto [left, right] = merges[rank];
    merge_of.emplace(pair_key(left, right), std::pair(int32_t(rank), ids.at(pieces[size_t(left)] + pieces[size_t(right)])));
  }
}

// Merges the pair of lowest rank, leftmost first, until none is left. A heap over a linked list: long words cost n log n.
void Tokenizer::Impl::encode_word(std::string_view word, std::vector<int32_t>& out) const {
  if (ignore_merges) {
    auto whole = ids.find(std::string(word));
    if (whole != ids.end()) {
      out.push_back(whole->second);
      return;
    }
  }
  struct Symbol { int32_t id, previous, next; };
  struct Candidate { int32_t rank, at, left, right; };  // a merge of the symbol at `at` with its neighbour
  auto later = [](const Candidate& a, const Candidate& b) { return std::pair(a.rank, a.at) > std::pair(b.rank, b.at); };
  std::vector<Symbol> symbols;
  for (unsigned char b : word) {
    if (byte_ids[b] == kNone) { continue; }  // a vocabulary without this byte cannot spell it
    symbols.push_back({byte_ids[b], int32_t(symbols.size()) - 1, int32_t(symbols.size()) + 1});
  }
  if (symbols.empty()) { return; }
  symbols.back().next = kNone;
  std::priority_queue<Candidate, std::vector<Candidate>, decltype(later)> heap(later);
  auto consider = [&](int32_t at) {
    if (at == kNone || symbols[size_t(at)].next == kNone) { return; }
    int32_t left = symbols[size_t(at)].id, right = symbols[size_t(symbols[size_t(at)].next)].id;
    auto found = merge_of.find(pair_key(left, right));
    if (found != merge_of.end()) { heap.push({found->second.first, at, left, right}); }
  };
  for (int32_t i = 0; i < int32_t(symbols.size()); ++i) { consider(i); }
  while (!heap.empty()) {
    Candidate c = heap.top();
    heap.pop();
    Symbol& left = symbols[size_t(c.at)];
    if (left.id != c.left || left.next == kNone || symbols[size_t(left.next)].id != c.right) { continue; }  // changed since it was pushed
    Symbol& right = symbols[size_t(left.next)];
    left.id = merge_of.at(pair_key(c.left, c.right)).second;
    left.next = right.next;
    right.id = kNone;
    if (left.next != kNone) { symbols[size_t(left.next)].previous = c.at; }
    consider(left.previous);
    consider(c.at);
  }
  for (int32_t i = 0; i != kNone; i = symbols[size_t(i)].next) { out.push_back(symbols[size_t(i)].id); }
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> out;
  auto ordinary = [&](std::string_view part) {
    if (part.empty()) { return; }
    std::string normal = impl_->normalization.apply(part);
    impl_->pretokenizer->split(normal, [&](std::string_view word) { impl_->encode_word(word, out); });
  };
  // Added tokens are cut out first, the leftmost and longest; what lies between them is ordinary text.
  size_t begin = 0;
  while (begin < text.size()) {
    size_t at = std::string_view::npos;
    const AddedToken* best = nullptr;
    for (const AddedToken& token : impl_->added) {
      size_t found = text.find(token.content, begin);
      if (found < at || (found == at && best && found != std::string_view::npos && token.content.size() > best->content.size())) {
        at = found;
        best = &token;
      }
    }
    ordinary(text.substr(begin, best ? at - begin : std::string_view::npos));
    if (!best) { break; }
    out.push_back(best->id);
    begin = at + best->content.size();
  }
  return out;
}

std::string Tokenizer::decode(std::span<const int32_t> token_ids) const {
  std::string text;
  for (int32_t id : token_ids) {
    const AddedToken* added = nullptr;
    for (const AddedToken& token : impl_->added) {
      if (token.id == id) { added = &token; }
    }
    if (added) { text += added->content; }
    else if (id >= 0 && id < int32_t(impl_->pieces.size())) { text += impl_->pieces[size_t(id)]; }
  }
  return text;
}

int32_t Tokenizer::vocab_size() const {
  int32_t size = int32_t(impl_->pieces.size());
  for (const AddedToken& token : impl_->added) { size = std::max(size, token.id + 1); }
  return size;
}

std::optional<int32_t> Tokenizer::id_of(const std::string& token) const {
  for (const AddedToken& t : impl_->added) {
    if (t.content == token) { return t.id; }
  }
  auto found = impl_->ids.find(token);
  return found == impl_->ids.end() ? std::nullopt : std::optional(found->second);
}

int32_t Tokenizer::eos_id() const {
  for (const char* name : {"<|endoftext|>", "</s>", "<|im_end|>"}) {
    if (auto id = id_of(name)) { return *id; }
  }
  throw FormatError("[tokenizer] no end-of-text token: one of <|endoftext|>, </s> and <|im_end|> is required", __FILE__, __LINE__);
}

void Tokenizer::save(const std::string& path) const { write_file_atomic(path, to_json()); }

uint64_t Tokenizer::fingerprint() const {  // FNV-1a of the file it would write
  uint64_t h = 14695981039346656037ull;
  for (unsigned char c : to_json()) { h = (h ^ c) * 1099511628211ull; }
  return h;
}

}  // namespace pumice
