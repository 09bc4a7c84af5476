// From the pieces of a vocabulary back to text: the "decoder" of a tokenizer.json.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace pumice {

class JsonPart;

class PieceDecoder {
 public:
  struct Piece { std::string text; bool added; };  // as it is spelled in the vocabulary; added tokens stand for themselves

  // ByteLevel, BPEDecoder, Metaspace, ByteFallback, Replace, Strip, Fuse and Sequence of them; anything else is a FormatError. null joins
  // the pieces with spaces.
  static PieceDecoder parse(const JsonPart& part);

  // The text, byte for byte: bytes that are not UTF-8 are kept, where other implementations put U+FFFD.
  std::string decode(std::vector<Piece> pieces) const;

  // Tokenizer::cuts_after of a piece.
  bool cuts_after(const std::string& piece) const;

  void end_words_with(const std::string& suffix);  // one more step: the suffix of a word's last piece becomes a space between words

 private:
  using Pieces = std::vector<Piece>;
  void add(const JsonPart& part);
  void add_metaspace(const JsonPart& part);
  std::vector<std::function<void(Pieces&)>> steps_;
  bool fused_ = false;      // a step has made one text of the pieces
  bool by_pieces_ = true;   // every piece becomes text by itself, but for what is stripped from the ends of the whole
  std::string word_end_;    // of end_words_with
};

}  // namespace pumice
