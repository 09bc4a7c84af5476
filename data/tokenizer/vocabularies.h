// Vocabularies in formats older than tokenizer.json, as what one would make: they run through one implementation and are stored as one. Every
// function throws FormatError naming `source` and the line.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pumice/data/tokenizer.h"

namespace pumice {

// What the files beside a vocab.json say (tokenizer_config.json, special_tokens_map.json, added_tokens.json).
struct VocabularySettings {
  std::string tokenizer_class;             // "GPT2Tokenizer"; "" when it is not known
  bool add_prefix_space = false;
  bool legacy = true;                      // of SentencePiece, see load_sentencepiece()
  std::map<int64_t, std::string> added;    // added tokens by id, as JSON objects of tokenizer.json's added_tokens
  std::vector<std::string> special;        // tokens that are special where the vocabulary has them
};

// GPT-2's vocab.json {piece: id} and merges.txt ("left right" a line, the first of rank 0). The class decides how text is cut; without one,
// pieces that end in </w> make it CLIP's, otherwise it is GPT-2's.
std::shared_ptr<Tokenizer::Impl> parse_vocab_and_merges(const std::string& vocab, const std::string& vocab_source, std::string_view merges,
                                                        const std::string& merges_source, const VocabularySettings& settings);

// OpenAI's bpe_simple_vocab_16e6.txt, unpacked: a comment line, then merges, of which CLIP uses the first 48894. Text is NFC, entities like
// &amp; become characters, white space is collapsed and letters are lowered; ftfy's repairs of broken encodings are not made.
// Differs from simple_tokenizer.py where a special token touches other signs (it is cut out here) and in a Greek final sigma (an ordinary one here).
std::shared_ptr<Tokenizer::Impl> parse_clip_merges(std::string_view merges, const std::string& source);

// A .tiktoken file: base64 of a piece and its rank, a line each. Pattern and special tokens are not in the file: its name must hold qwen,
// arcade100k, cl100k or r50k.
std::shared_ptr<Tokenizer::Impl> parse_tiktoken(std::string_view ranks, const std::string& source);

}  // namespace pumice
