#include "pumice/data/tokenizer/piece_decoder.h"

#include "pumice/data/tokenizer/byte_alphabet.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/normalizer.h"
#include "pumice/data/tokenizer/regex.h"
#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

using Pieces = std::vector<PieceDecoder::Piece>;

std::string joined(const Pieces& pieces, const char* between) {
  std::string text;
  for (size_t i = 0; i < pieces.size(); ++i) { text.append(i ? between : "").append(pieces[i].text); }
  return text;
}

void fuse(Pieces& pieces) { pieces = {{joined(pieces, ""), false}}; }

void byte_level(Pieces& pieces) {
  std::string bytes;
  for (PieceDecoder::Piece& piece : pieces) {
    if (!piece.added && from_byte_alphabet(piece.text, bytes)) { piece.text = bytes; }
  }
  fuse(pieces);
}

int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

// <0x41> is the byte 0x41.
void byte_fallback(Pieces& pieces) {
  for (PieceDecoder::Piece& piece : pieces) {
    const std::string& t = piece.text;
    if (t.size() == 6 && t.compare(0, 3, "<0x") == 0 && t[5] == '>' && hex(t[3]) >= 0 && hex(t[4]) >= 0) {
      piece.text = std::string(1, char(hex(t[3]) * 16 + hex(t[4])));
    }
  }
}

// Takes up to `left` and `right` copies of `mark` from the ends of every piece.
void strip(Pieces& pieces, const std::string& mark, int left, int right) {
  for (PieceDecoder::Piece& piece : pieces) {
    size_t begin = 0, end = piece.text.size(), n = mark.size();
    for (int i = 0; i < left && end - begin >= n && piece.text.compare(begin, n, mark) == 0; ++i) { begin += n; }
    for (int i = 0; i < right && end - begin >= n && piece.text.compare(end - n, n, mark) == 0; ++i) { end -= n; }
    piece.text = piece.text.substr(begin, end - begin);
  }
}

}  // namespace

PieceDecoder PieceDecoder::parse(const JsonPart& part) {
  PieceDecoder d;
  d.add(part);
  return d;
}

void PieceDecoder::add(const JsonPart& part) {
  if (part.value().is_null()) { return; }
  const std::string type = part.type();
  if (fused_ && type != "Fuse" && type != "Strip" && type != "Sequence") { by_pieces_ = false; }
  fused_ = fused_ || type == "ByteLevel" || type == "Fuse";
  if (type == "ByteLevel") { steps_.push_back(byte_level); }
  else if (type == "ByteFallback") { steps_.push_back(byte_fallback); }
  else if (type == "Fuse") { steps_.push_back(fuse); }
  else if (type == "Metaspace") { add_metaspace(part); }
  else if (type == "BPEDecoder") {
    steps_.push_back([suffix = Regex::literal(part.non_empty("suffix", "</w>"))](Pieces& pieces) {
      for (Piece& piece : pieces) { piece.text = suffix.replace(piece.text, &piece == &pieces.back() ? "" : " "); }
    });
  } else if (type == "Replace") {
    steps_.push_back([pattern = pattern_in(part.at("pattern")), content = part.at("content").text()](Pieces& pieces) {
      for (Piece& piece : pieces) {
        if (valid_prefix(piece.text) == piece.text.size()) { piece.text = pattern.replace(piece.text, content); }
      }
    });
  } else if (type == "Strip") {
    constexpr int64_t kMost = 1 << 20;
    steps_.push_back([mark = part.non_empty("content", " "), left = part.at("start").integer(0, kMost, "a count"),
                      right = part.at("stop").integer(0, kMost, "a count")](Pieces& pieces) { strip(pieces, mark, left, right); });
  } else if (type == "Sequence") {
    part.at("decoders").each([&](const JsonPart& step) { add(step); });
  } else { part.unknown_type("ByteLevel, BPEDecoder, Metaspace, ByteFallback, Replace, Strip, Fuse, Sequence"); }
}

// The mark is a space; that at the very beginning was put there by the pre-tokenizer.
void PieceDecoder::add_metaspace(const JsonPart& part) {
  const bool drops_first = part.text("prepend_scheme", part.flag("add_prefix_space", true) ? "always" : "never") != "never";
  steps_.push_back([space = Regex::literal(part.non_empty("replacement", "\u2581")), drops_first](Pieces& pieces) {
    for (Piece& piece : pieces) { piece.text = space.replace(piece.text, &piece == &pieces.front() && drops_first ? "" : " "); }
  });
}

// A word's end that is cut in two pieces becomes a space as well: only behind a whole one is it known that none is open. Where an end may overlap
// the next, not even there.
bool PieceDecoder::cuts_after(const std::string& piece) const {
  for (size_t n = 1; n < word_end_.size(); ++n) {
    if (word_end_.compare(0, n, word_end_, word_end_.size() - n, n) == 0) { return false; }
  }
  return by_pieces_ && piece.ends_with(word_end_);
}

void PieceDecoder::end_words_with(const std::string& suffix) {
  word_end_ = suffix;
  steps_.push_back([mark = Regex::literal(suffix)](Pieces& pieces) {
    fuse(pieces);
    pieces[0].text = mark.replace(pieces[0].text, " ");
    strip(pieces, " ", 0, 1);
  });
}

std::string PieceDecoder::decode(std::vector<Piece> pieces) const {
  if (pieces.empty()) { return ""; }
  size_t bytes = 0;
  for (const Piece& piece : pieces) { bytes += piece.text.size(); }
  for (const auto& step : steps_) {
    step(pieces);
    size_t now = 0;
    for (const Piece& piece : pieces) { now += piece.text.size(); }
    REQUIRE(FormatError, now <= growth_limit(bytes), "[tokenizer] the decoder's replacements make more than ", growth_limit(bytes),
        " bytes of one text");
  }
  return joined(pieces, steps_.empty() ? " " : "");
}

}  // namespace pumice
