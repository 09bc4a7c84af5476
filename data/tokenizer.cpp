#include "pumice/data/tokenizer.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "pumice/data/text.h"
#include "pumice/data/tokenizer/impl.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"

namespace pumice {

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Tokenizer Tokenizer::parse(const std::string& json, const std::string& source) { return Tokenizer(parse_tokenizer_json(json, source)); }

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  impl_->encode(text, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const { return impl_->decode(ids, skip_special); }
const std::vector<int32_t>& Tokenizer::prefix() const { return impl_->prefix; }
const std::vector<int32_t>& Tokenizer::suffix() const { return impl_->suffix; }
int32_t Tokenizer::vocab_size() const { return impl_->vocab_size(); }
std::optional<int32_t> Tokenizer::id_of(const std::string& token) const { return impl_->id_of(token); }
bool Tokenizer::cuts_after(int32_t id) const { return impl_->cuts_after(id); }
std::string Tokenizer::piece(int32_t id) const { return impl_->piece(id); }
bool Tokenizer::is_special(int32_t id) const { return impl_->is_special(id); }
std::string Tokenizer::kind() const { return impl_->kind(); }
uint64_t Tokenizer::fingerprint() const {
  auto of = [](const std::string& text) { return text.empty() ? 0 : hash_of(text); };
  return impl_->fingerprint() ^ of(impl_->eos) ^ of(impl_->added) ^ of(impl_->legacy ? "" : "legacy: false");
}
std::string Tokenizer::file() const { return impl_->file(); }
std::string Tokenizer::file_name() const { return impl_->file_name(); }

int32_t Tokenizer::eos_id() const {
  if (!impl_->eos.empty()) { return *impl_->id_of(impl_->eos); }  // load() has looked it up
  if (auto own = impl_->own_eos()) { return *own; }
  if (impl_->suffix.size() == 1) { return impl_->suffix[0]; }
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "<end_of_text>", "</s>", "<eos>", "<|im_end|>"}) {
    if (auto id = impl_->id_of(name)) { return *id; }
  }
  throw FormatError("[tokenizer] no end-of-text token: the vocabulary has none of <|endoftext|>, <|end_of_text|>, <end_of_text>, </s>, <eos> and "
                    "<|im_end|>. Name it as \"eos_token\" in a tokenizer_config.json beside the tokenizer", __FILE__, __LINE__);
}

void Tokenizer::save(const std::string& directory) const {
  std::error_code failed;
  std::filesystem::create_directories(directory, failed);
  REQUIRE(IoError, !failed, "[tokenizer] the directory ", directory, " cannot be made: ", failed.message());
  write_file_atomic(directory + "/" + impl_->file_name(), impl_->file());
  nlohmann::json config;
  if (!impl_->eos.empty()) { config["eos_token"] = impl_->eos; }
  if (!impl_->added.empty()) { config["added_tokens_decoder"] = parse_json(impl_->added); }
  if (!impl_->legacy) { config["legacy"] = false; }
  if (!config.is_null()) { write_file_atomic(directory + "/tokenizer_config.json", config.dump(1) + "\n"); }
}

}  // namespace pumice
