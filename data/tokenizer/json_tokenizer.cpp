// tokenizer.json (Hugging Face tokenizers). What this library does not do is refused by name: an ignored setting would give wrong ids
// silently.
#include <algorithm>

#include "pumice/data/text.h"
#include "pumice/data/tokenizer/added_tokens.h"
#include "pumice/data/tokenizer/bpe.h"
#include "pumice/data/tokenizer/document.h"
#include "pumice/data/tokenizer/impl.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/normalizer.h"
#include "pumice/data/tokenizer/piece_decoder.h"
#include "pumice/data/tokenizer/post_processor.h"
#include "pumice/data/tokenizer/pretokenizer.h"
#include "pumice/data/tokenizer/unicode.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

struct JsonTokenizer final : Tokenizer::Impl {
  Normalizer normalizer;
  AddedTokens added;
  Pretokenizer pretokenizer;
  Bpe bpe;
  PieceDecoder decoder;
  std::string file_text;             // the file; "" where there is none, and it is written from what follows when it is asked for
  uint64_t hash = 0;                 // of that file
  tokenizer_document::Steps steps;

  void encode(std::string_view text, std::vector<int32_t>& out) const override;
  void encode_part(std::string_view part, bool first, std::vector<int32_t>& out) const;
  void encode_words(std::string_view part, bool first, std::vector<int32_t>& out) const;
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override;
  std::optional<int32_t> id_of(const std::string& token) const override;
  std::string piece(int32_t id) const override;
  bool cuts_after(int32_t id) const override { return decoder.cuts_after(piece(id)); }
  int32_t vocab_size() const override;
  bool is_special(int32_t id) const override {
    const AddedToken* token = added.find(id);
    return token && token->special;
  }
  std::string kind() const override { return pretokenizer.byte_level() ? "byte-level BPE" : bpe.byte_fallback() ? "BPE with byte fallback" : "BPE"; }
  std::string file() const override { return file_text.empty() ? text_of(bpe, added.all(), steps) : file_text; }
  uint64_t fingerprint() const override { return file_text.empty() ? hash_of(parse_json(file()).dump()) : hash; }
  void set_steps(const JsonPart& decoder_part, const JsonPart& post_processor);
  std::string file_name() const override { return "tokenizer.json"; }
};

// Runs of bytes that are not UTF-8 are words of their own; everything else sees only valid text.
void JsonTokenizer::encode(std::string_view text, std::vector<int32_t>& out) const {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = begin + valid_prefix(text.substr(begin));
    if (end > begin) { encode_part(text.substr(begin, end - begin), begin == 0, out); }
    size_t bad = end;
    while (bad < text.size() && character(text.substr(bad)) == 0) { ++bad; }
    if (bad > end) { bpe.encode(text.substr(end, bad - end), pretokenizer.byte_level(), out); }
    begin = bad;
  }
}

// Added tokens are cut out of the raw text, then, after normalization, those that want it; what lies between them is ordinary text.
void JsonTokenizer::encode_part(std::string_view part, bool first, std::vector<int32_t>& out) const {
  auto token = [&](const AddedToken& t) { out.push_back(t.id); };
  added.cut(part, false, [&](size_t begin, size_t end) {
    const std::string normal = normalizer.apply(std::string(part.substr(begin, end - begin)));
    added.cut(normal, true, [&](size_t from, size_t to) {
      encode_words(std::string_view(normal).substr(from, to - from), first && begin == 0 && from == 0, out);
    }, token);
  }, token);
}

void JsonTokenizer::encode_words(std::string_view part, bool first, std::vector<int32_t>& out) const {
  pretokenizer.split(part, first, [&](std::string_view word) { bpe.encode(word, pretokenizer.spells_last(), out); });
}

std::string JsonTokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<PieceDecoder::Piece> pieces;
  for (int32_t id : ids) {
    if (const AddedToken* token = added.find(id)) {
      if (!skip_special || !token->special) { pieces.push_back({token->content, true}); }
    } else if (const std::string* text = bpe.piece_of(id)) { pieces.push_back({*text, false}); }
  }
  return decoder.decode(std::move(pieces));
}

std::optional<int32_t> JsonTokenizer::id_of(const std::string& token) const {
  if (const AddedToken* t = added.find(token)) { return t->id; }
  const int32_t id = bpe.id_of(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::string JsonTokenizer::piece(int32_t id) const {
  if (const AddedToken* token = added.find(id)) { return token->content; }
  const std::string* text = bpe.piece_of(id);
  return text ? *text : "";
}

int32_t JsonTokenizer::vocab_size() const {
  int32_t size = bpe.size();
  for (const AddedToken& token : added.all()) { size = std::max(size, token.id + 1); }
  return size;
}

void JsonTokenizer::set_steps(const JsonPart& decoder_part, const JsonPart& post_processor) {
  decoder = PieceDecoder::parse(decoder_part);
  // CLIP's files end words with </w> and leave it to their users to take it away again.
  if (!bpe.suffix().empty() && decoder_part.has("type") && decoder_part.type() == "ByteLevel") { decoder.end_words_with(bpe.suffix()); }
  PostProcessor post = PostProcessor::parse(post_processor);
  prefix = std::move(post.prefix);
  suffix = std::move(post.suffix);
}

}  // namespace

std::shared_ptr<Tokenizer::Impl> parse_tokenizer_json(const std::string& json, const std::string& source) {
  const nlohmann::json j = parse_foreign_json(json, source);
  const JsonPart whole(j, source, "");
  REQUIRE(FormatError, j.is_object() && j.contains("model"), "[tokenizer] ", source,
          ": the file must be an object with a 'model': is it a tokenizer.json?");
  auto t = std::make_shared<JsonTokenizer>();
  t->bpe = Bpe::parse(whole.at("model"));
  t->normalizer = Normalizer::parse(whole.at("normalizer"));
  t->added = AddedTokens::parse(whole.at("added_tokens"), t->normalizer);
  t->pretokenizer = Pretokenizer::parse(whole.at("pre_tokenizer"));
  t->set_steps(whole.at("decoder"), whole.at("post_processor"));
  t->file_text = json;
  t->hash = hash_of(j.dump());
  return t;
}

std::shared_ptr<Tokenizer::Impl> tokenizer_document::tokenizer_of(Bpe model, std::vector<AddedToken> added, Steps steps, const std::string& source) {
  auto t = std::make_shared<JsonTokenizer>();
  t->bpe = std::move(model);
  t->normalizer = Normalizer::parse({steps.normalizer, source, "normalizer"});
  t->added = AddedTokens(std::move(added), t->normalizer, source);
  t->pretokenizer = Pretokenizer::parse({steps.pre_tokenizer, source, "pre_tokenizer"});
  t->set_steps({steps.decoder, source, "decoder"}, {steps.post_processor, source, "post_processor"});
  t->steps = std::move(steps);
  return t;
}

}  // namespace pumice
