// What each kind of tokenizer provides behind the public class.
#pragma once
#include "pumice/data/tokenizer.h"

namespace pumice {

struct Tokenizer::Impl {
  std::vector<int32_t> prefix, suffix;  // around one text
  std::string eos;                      // the token that tokenizer_config.json names; "" for none
  std::string added;                    // what the files beside a tokenizer.model add to it: the text of an added_tokens_decoder; "" for nothing

  bool legacy = true;                   // of a tokenizer.model, see load_sentencepiece()

  virtual ~Impl() = default;
  virtual void encode(std::string_view text, std::vector<int32_t>& out) const = 0;
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special) const = 0;
  virtual bool cuts_after(int32_t id) const = 0;
  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> id_of(const std::string& token) const = 0;
  virtual std::string piece(int32_t id) const = 0;
  virtual bool is_special(int32_t id) const = 0;
  virtual std::optional<int32_t> own_eos() const { return std::nullopt; }  // where the file itself says which one it is
  virtual std::string kind() const = 0;
  virtual uint64_t fingerprint() const = 0;
  virtual std::string file() const = 0;  // tokenizer.json or tokenizer.model, whole
  virtual std::string file_name() const = 0;
};

// Of a tokenizer.json; throws FormatError.
std::shared_ptr<Tokenizer::Impl> parse_tokenizer_json(const std::string& json, const std::string& source);

}  // namespace pumice
