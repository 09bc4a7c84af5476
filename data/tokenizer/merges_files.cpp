#include <set>

#include "pumice/data/text.h"
#include "pumice/data/tokenizer/byte_alphabet.h"
#include "pumice/data/tokenizer/bpe.h"
#include "pumice/data/tokenizer/document.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/vocabularies.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

namespace document = tokenizer_document;
using document::Json;

constexpr const char* kWordEnd = "</w>";
constexpr size_t kClipMerges = 49152 - 256 - 2;  // of the 262144 in the file (simple_tokenizer.py)

std::pair<std::string, std::string> pair_in(std::string_view line, const std::string& source, size_t number) {
  const size_t space = line.find(' ');
  REQUIRE(FormatError, space != std::string_view::npos && space > 0 && space + 1 < line.size() && line.find(' ', space + 1) == std::string_view::npos,
          "[tokenizer] ", source, ": line ", number, " must be two pieces with a space between them");
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

Json merges_in(std::string_view text, const std::string& source, const Json& vocab) {
  Json merges = Json::array();
  each_line(text, [&](std::string_view line, size_t number) {
    if (line.empty() || (number == 1 && line.rfind("#version", 0) == 0)) { return; }
    auto [left, right] = pair_in(line, source, number);
    for (const std::string& piece : {left, right, left + right}) {
      REQUIRE(FormatError, vocab.contains(piece), "[tokenizer] ", source, ": line ", number, " needs the piece '", piece,
              "', which the vocabulary lacks");
    }
    merges.push_back({left, right});
  });
  return merges;
}

enum class Family { gpt2, qwen2, clip, roberta };

Family family_of(const VocabularySettings& settings, const Json& vocab, const std::string& source) {
  std::string name = settings.tokenizer_class;
  if (name.ends_with("Fast")) { name.resize(name.size() - 4); }
  if (name == "CLIPTokenizer") { return Family::clip; }
  if (name == "Qwen2Tokenizer") { return Family::qwen2; }
  if (name == "RobertaTokenizer" || name == "BartTokenizer") { return Family::roberta; }
  if (name == "GPT2Tokenizer" || name == "CodeGenTokenizer" || name == "GPTNeoXTokenizer") { return Family::gpt2; }
  REQUIRE(FormatError, name.empty() || name == "PreTrainedTokenizer", "[tokenizer] ", source, ": the tokenizer_class '", name,
          "' of tokenizer_config.json is not supported with vocab.json (GPT2Tokenizer, CodeGenTokenizer, GPTNeoXTokenizer, RobertaTokenizer, "
          "BartTokenizer, Qwen2Tokenizer, CLIPTokenizer). A tokenizer.json beside it would say how it works");
  for (const auto& [piece, id] : vocab.items()) {
    if (piece.ends_with(kWordEnd)) { return Family::clip; }
  }
  return Family::gpt2;
}

// What the settings add, and the known special tokens that the vocabulary holds.
Json added_tokens(const VocabularySettings& settings, const Json& vocab) {
  Json added = Json::array();
  std::set<std::string> seen;
  for (const auto& [id, token] : settings.added) {
    added.push_back(Json::parse(token));
    seen.insert(added.back()["content"].get<std::string>());
  }
  std::vector<std::string> special = settings.special;
  special.insert(special.end(), {"<|startoftext|>", "<|endoftext|>"});
  for (const std::string& name : special) {
    if (vocab.contains(name) && seen.insert(name).second) { added.push_back(document::added_token(vocab[name].get<int64_t>(), name)); }
  }
  return added;
}

// <|startoftext|> text <|endoftext|> for CLIP, <s> text </s> for RoBERTa; null where the vocabulary lacks them.
Json around(const Json& vocab, const char* start, const char* end) {
  if (!vocab.contains(start) || !vocab.contains(end)) { return nullptr; }
  return document::clip_post_processor(vocab[start].get<int64_t>(), start, vocab[end].get<int64_t>(), end);
}

Json vocabulary_in(const std::string& text, const std::string& source) {
  Json vocab = parse_json(text, source, 1);
  REQUIRE(FormatError, vocab.is_object(), "[tokenizer] ", source, ": the file must be an object {piece: id}");
  const JsonPart whole(vocab, source, "vocab");
  for (const auto& [piece, id] : vocab.items()) { whole.entry(piece, id).integer(0, kMaxTokenId, "an id"); }
  return vocab;
}

// &amp; first and twice, as html.unescape is applied twice; these are what captions from the web hold.
Json openai_normalizer() {
  std::vector<Json> steps = {{{"type", "NFC"}}};
  constexpr const char* kEntities[][2] = {{"&amp;", "&"}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&#39;", "'"},
                                          {"&#x27;", "'"}, {"&apos;", "'"}, {"&nbsp;", " "}};
  for (const auto& [entity, character] : kEntities) { steps.push_back(document::replace({{"String", entity}}, character)); }
  steps.push_back(document::replace({{"Regex", "\\s+"}}, " "));
  steps.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
  steps.push_back({{"type", "Lowercase"}});
  return document::sequence("normalizers", std::move(steps));
}

// The 256 bytes in the order of their alphabet, and the same with </w>.
Json byte_pieces() {
  std::vector<std::string> bytes;
  for (int round = 0; round < 2; ++round) {  // those that stand for themselves come first
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      if (printable == (round == 0)) { bytes.push_back(to_byte_alphabet(std::string(1, char(b)))); }
    }
  }
  Json pieces = Json::object();
  for (const char* end : {"", kWordEnd}) {
    for (const std::string& piece : bytes) { pieces.emplace(piece + end, pieces.size()); }
  }
  return pieces;
}

}  // namespace

std::string json_of_vocab_and_merges(const std::string& vocab_text, const std::string& vocab_source, std::string_view merges,
                                     const std::string& merges_source, const VocabularySettings& settings) {
  Json vocab = vocabulary_in(vocab_text, vocab_source);
  document::Parts parts;
  Json pairs = merges_in(merges, merges_source, vocab);
  parts.added_tokens = added_tokens(settings, vocab);
  parts.pre_tokenizer = parts.decoder = document::byte_level(true);
  parts.pre_tokenizer["add_prefix_space"] = settings.add_prefix_space;
  const Family family = family_of(settings, vocab, vocab_source);
  if (family == Family::clip) {
    parts.normalizer = document::clip_normalizer();
    parts.pre_tokenizer = document::clip_pretokenizer();
    parts.post_processor = around(vocab, "<|startoftext|>", "<|endoftext|>");
  } else if (family == Family::qwen2) {
    parts.normalizer = {{"type", "NFC"}};
    parts.pre_tokenizer = document::split_then_bytes(document::kQwenPattern);
  } else if (family == Family::roberta) { parts.post_processor = around(vocab, "<s>", "</s>"); }
  parts.model = document::bpe(std::move(vocab), std::move(pairs));
  if (family == Family::clip) { parts.model["end_of_word_suffix"] = kWordEnd; }
  return document::text_of(std::move(parts));
}

// Ids: the 256 bytes in the order of their alphabet, the same with </w>, the merges, start and end of text.
std::string json_of_clip_merges(std::string_view text, const std::string& source) {
  static const Json bytes = byte_pieces();
  Json made = Json::object(), merges = Json::array();
  auto known = [&](const std::string& piece) { return bytes.contains(piece) || made.contains(piece); };
  each_line(text, [&](std::string_view line, size_t number) {
    if (number == 1 || line.empty() || merges.size() == kClipMerges) { return; }
    auto [left, right] = pair_in(line, source, number);
    REQUIRE(FormatError, known(left) && known(right), "[tokenizer] ", source, ": line ", number,
            " merges a piece that no line before it has made. Is it OpenAI's bpe_simple_vocab_16e6.txt.gz?");
    REQUIRE(FormatError, !known(left + right), "[tokenizer] ", source, ": line ", number, " makes the piece '", left + right, "' again");
    made.emplace(left + right, bytes.size() + made.size());
    merges.push_back({left, right});
  });
  REQUIRE(FormatError, !merges.empty(), "[tokenizer] ", source, ": no merge follows the first line. Is it OpenAI's bpe_simple_vocab_16e6.txt.gz?");
  const char *start = "<|startoftext|>", *end = "<|endoftext|>";
  const int64_t next = int64_t(bytes.size() + made.size());
  Json vocab = bytes;
  vocab.update(made);
  vocab[start] = next;
  vocab[end] = next + 1;
  document::Parts parts;
  parts.added_tokens = {document::added_token(next, start), document::added_token(next + 1, end)};
  parts.normalizer = openai_normalizer();
  parts.pre_tokenizer = document::clip_pretokenizer(document::kOpenAiClipPattern);
  parts.decoder = document::byte_level(true);  // as in CLIP's own tokenizer.json; </w> is the reader's to take away
  parts.post_processor = around(vocab, start, end);
  parts.model = document::bpe(std::move(vocab), std::move(merges));
  parts.model["end_of_word_suffix"] = kWordEnd;
  return document::text_of(std::move(parts));
}

}  // namespace pumice
