// The parts of a tokenizer, shared by the files that train, parse and run it.
#pragma once
#include <map>
#include <unordered_map>

#include "pumice/data/pretokenizer.h"
#include "pumice/data/tokenizer.h"

namespace pumice {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;
};

struct Tokenizer::Impl {
  std::vector<std::string> pieces;                       // by id: raw bytes of ordinary pieces; empty where no piece has the id
  std::unordered_map<std::string, int32_t> ids;          // of ordinary pieces
  std::vector<std::pair<int32_t, int32_t>> merges;       // by rank
  std::unordered_map<uint64_t, std::pair<int32_t, int32_t>> merge_of;  // (left << 32 | right) -> (rank, merged id)
  std::vector<AddedToken> added;
  int32_t byte_ids[256] = {};
  bool ignore_merges = false;   // a whole word that is a piece is taken as it is
  Normalization normalization;
  std::unique_ptr<Pretokenizer> pretokenizer;

  void index_merges();  // fills merge_of and byte_ids from pieces, ids and merges
  void encode_word(std::string_view word, std::vector<int32_t>& out) const;
};

// GPT-2's printable alphabet for bytes, in which pieces are spelled in tokenizer.json.
std::string to_byte_alphabet(std::string_view bytes);
bool from_byte_alphabet(std::string_view text, std::string& bytes);  // false for a character outside the alphabet

}  // namespace pumice
