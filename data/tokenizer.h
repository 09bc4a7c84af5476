// Tokenizers: text to ids and back. Trained here, or read from the files that others write:
//
//   tokenizer.json                                  Hugging Face tokenizers, of the type BPE
//   vocab.json + merges.txt                         GPT-2, CLIP, Qwen2 and their kin
//   bpe_simple_vocab_16e6.txt.gz                    OpenAI's CLIP
//   qwen.tiktoken, arcade100k.tiktoken, cl100k_base.tiktoken
//   tokenizer.model                                 SentencePiece, through the plug-in libpumice_sentencepiece.so
//
//   Tokenizer t = Tokenizer::train(captions, {.vocab_size = 2048});
//   t.encode("two red apples");        // ids, without end-of-text
//   t.save("runs/a");                  // runs/a/tokenizer.json
//   Tokenizer same = Tokenizer::load("runs/a");
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

struct TokenizerTraining {
  int vocab_size = 2048;   // bytes, merges and end-of-text together; fewer if the text has no more pairs
  bool lowercase = true;   // written into the file as a normalizer
};

// Immutable, cheap to copy, and safe to use from several threads.
class Tokenizer {
 public:
  // Byte-level BPE (Sennrich, Haddow, Birch 2016, arXiv:1508.07909; on bytes: Radford et al. 2019). Deterministic: the most frequent pair
  // is merged first, of equally frequent ones the smaller pair of ids.
  static Tokenizer train(const std::vector<std::string>& texts, const TokenizerTraining& options);
  // From one of the files above or a directory that holds one. Beside a tokenizer.json or a vocab.json, tokenizer_config.json may name
  // the end-of-text token. Throws IoError, or FormatError naming the file and the place of what is missing or not supported.
  static Tokenizer load(const std::string& path);
  // From the text of a tokenizer.json; `source` names it in errors.
  static Tokenizer parse(const std::string& json, const std::string& source);

  // The ids of the text alone. Never fails for what the text holds: bytes that are not UTF-8 are encoded as bytes where the vocabulary
  // can, otherwise as its unknown token. Added tokens ("<|endoftext|>") in the text become their ids. Throws FormatError when a pattern of
  // the file gives up on the text.
  std::vector<int32_t> encode(std::string_view text) const;
  // What the file puts before and after a text ("<s>", "[CLS]"); often nothing.
  const std::vector<int32_t>& prefix() const;
  const std::vector<int32_t>& suffix() const;
  // Bytes that are not UTF-8 are given back as they are; ids outside the vocabulary are skipped, special tokens on request.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;

  // Whether what comes behind `id` decodes to the same text when nothing but `id` is before it: decode(a id b) is decode(a id), then what
  // decode(id b) has beyond decode(id). Holds where decode(id) is not empty and decode(a id) does not end in a part of a character.
  bool cuts_after(int32_t id) const;

  int32_t vocab_size() const;                // one more than the largest id
  // The end-of-text token: what tokenizer_config.json names, else a SentencePiece model's own, else the file's one suffix(), else the first in the
  // vocabulary of <|endoftext|>, <|end_of_text|>, <end_of_text>, </s>, <eos> and <|im_end|>. Throws FormatError when there is none.
  int32_t eos_id() const;
  std::optional<int32_t> id_of(const std::string& token) const;
  std::string piece(int32_t id) const;       // as the vocabulary spells it; "" when there is no such id
  bool is_special(int32_t id) const;
  std::string kind() const;                  // "byte-level BPE", "BPE", "SentencePiece"
  uint64_t fingerprint() const;              // of everything that decides ids

  // Writes what load(directory) reads back: tokenizer.json or tokenizer.model, and a tokenizer_config.json where that named the end-of-text
  // token or files beside a tokenizer.model added tokens. Makes the directory; each file atomically.
  void save(const std::string& directory) const;
  std::string file() const;                  // the content of that file
  std::string file_name() const;             // and its name

  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace pumice
