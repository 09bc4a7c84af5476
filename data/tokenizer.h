// Byte-level BPE tokenizers (Sennrich, Haddow, Birch 2016, arXiv:1508.07909; on bytes: Radford et al. 2019), trained here or read
// from a Hugging Face tokenizer.json.
//
//   Tokenizer t = Tokenizer::train(captions, {.vocab_size = 2048});
//   t.encode("two red apples");        // ids, without end-of-text
//   t.save("tokenizer.json");
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

class Tokenizer {
 public:
  // Deterministic: the most frequent pair is merged first, of equally frequent ones the smaller pair of ids.
  static Tokenizer train(const std::vector<std::string>& texts, const TokenizerTraining& options);
  // Throws IoError, or FormatError naming the file and the JSON path of what is missing or not supported.
  static Tokenizer load(const std::string& path);
  static Tokenizer parse(const std::string& json, const std::string& source);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Never fails: bytes that are not UTF-8 are encoded as bytes. Added tokens ("<|endoftext|>") in the text become their ids.
  std::vector<int32_t> encode(std::string_view text) const;
  std::string decode(std::span<const int32_t> ids) const;  // ids outside the vocabulary are skipped

  int32_t vocab_size() const;              // one more than the largest id
  int32_t eos_id() const;                  // of <|endoftext|> or </s>; throws FormatError when there is neither
  std::optional<int32_t> id_of(const std::string& token) const;
  std::string to_json() const;
  void save(const std::string& path) const;  // atomically
  uint64_t fingerprint() const;            // of everything that decides ids

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pumice
