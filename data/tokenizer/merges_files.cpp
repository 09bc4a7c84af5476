#include <algorithm>
#include <set>
#include <unordered_set>

#include "pumice/data/text.h"
#include "pumice/data/tokenizer/byte_alphabet.h"
#include "pumice/data/tokenizer/bpe.h"
#include "pumice/data/tokenizer/document.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/vocabularies.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"

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

void read_merges(std::string_view text, const std::string& source, Bpe& model) {
  each_line(text, [&](std::string_view line, size_t number) {
    if (line.empty() || (number == 1 && line.rfind("#version", 0) == 0)) { return; }
    const auto [left, right] = pair_in(line, source, number);
    if (model.add_merge(left, right)) { return; }
    for (const std::string& piece : {left, right, left + right}) {
      REQUIRE(FormatError, model.id_of(piece) >= 0, "[tokenizer] ", source, ": line ", number, " needs the piece '", piece,
              "', which the vocabulary lacks");
    }
  });
}

enum class Family { gpt2, qwen2, clip, roberta };

Family family_of(const VocabularySettings& settings, const Bpe& model, const std::string& source) {
  std::string name = settings.tokenizer_class;
  if (name.ends_with("Fast")) { name.resize(name.size() - 4); }
  if (name == "CLIPTokenizer") { return Family::clip; }
  if (name == "Qwen2Tokenizer") { return Family::qwen2; }
  if (name == "RobertaTokenizer" || name == "BartTokenizer") { return Family::roberta; }
  if (name == "GPT2Tokenizer" || name == "CodeGenTokenizer" || name == "GPTNeoXTokenizer") { return Family::gpt2; }
  REQUIRE(FormatError, name.empty() || name == "PreTrainedTokenizer", "[tokenizer] ", source, ": the tokenizer_class '", name,
          "' of tokenizer_config.json is not supported with vocab.json (GPT2Tokenizer, CodeGenTokenizer, GPTNeoXTokenizer, RobertaTokenizer, "
          "BartTokenizer, Qwen2Tokenizer, CLIPTokenizer). A tokenizer.json beside it would say how it works");
  const bool ends = std::any_of(model.pieces().begin(), model.pieces().end(), [](const std::string& piece) { return piece.ends_with(kWordEnd); });
  return ends ? Family::clip : Family::gpt2;
}

// What the settings add, and the known special tokens that the vocabulary holds.
std::vector<AddedToken> added_tokens(const VocabularySettings& settings, const Bpe& model, const std::string& source) {
  std::vector<AddedToken> added;
  std::set<std::string> seen;
  for (const auto& [id, token] : settings.added) {
    const Json entry = parse_json(token);
    added.push_back(added_token_in({entry, source, "the added token " + std::to_string(id)}));
    seen.insert(added.back().content);
  }
  std::vector<std::string> special = settings.special;
  special.insert(special.end(), {"<|startoftext|>", "<|endoftext|>"});
  for (const std::string& name : special) {
    if (const int32_t id = model.id_of(name); id >= 0 && seen.insert(name).second) { added.push_back(document::added_token(id, name)); }
  }
  return added;
}

// <|startoftext|> text <|endoftext|> for CLIP, <s> text </s> for RoBERTa; null where the vocabulary lacks them.
Json around(const Bpe& model, const char* start, const char* end) {
  const int32_t first = model.id_of(start), last = model.id_of(end);
  return first < 0 || last < 0 ? Json() : document::clip_post_processor(first, start, last, end);
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

// The 256 bytes in the order of their alphabet, and the same with </w>: those of every vocabulary of OpenAI's kind.
std::vector<std::string> byte_pieces() {
  std::vector<std::string> pieces;
  for (int round = 0; round < 2; ++round) {  // those that stand for themselves come first
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      if (printable == (round == 0)) { pieces.push_back(to_byte_alphabet(std::string(1, char(b)))); }
    }
  }
  for (size_t i = 0; i < 256; ++i) { pieces.push_back(pieces[i] + kWordEnd); }
  return pieces;
}

using Merges = std::vector<std::pair<std::string, std::string>>;

// Lines are all looked at before a vocabulary is made of them.
Merges clip_merges_in(std::string_view text, const std::vector<std::string>& bytes, const std::string& source) {
  static const std::unordered_set<std::string> spelled(bytes.begin(), bytes.end());
  std::unordered_set<std::string> made;
  auto known = [&](const std::string& piece) { return spelled.count(piece) || made.count(piece); };
  Merges merges;
  each_line(text, [&](std::string_view line, size_t number) {
    if (number == 1 || line.empty() || merges.size() == kClipMerges) { return; }
    auto [left, right] = pair_in(line, source, number);
    REQUIRE(FormatError, known(left) && known(right), "[tokenizer] ", source, ": line ", number,
            " merges a piece that no line before it has made. Is it OpenAI's bpe_simple_vocab_16e6.txt.gz?");
    REQUIRE(FormatError, !spelled.count(left + right) && made.insert(left + right).second, "[tokenizer] ", source, ": line ", number,
            " makes the piece '", left + right, "' again");
    merges.emplace_back(std::move(left), std::move(right));
  });
  REQUIRE(FormatError, !merges.empty(), "[tokenizer] ", source,
          ": no merge follows the first line. Is it OpenAI's bpe_simple_vocab_16e6.txt.gz?");
  return merges;
}

}  // namespace

std::shared_ptr<Tokenizer::Impl> parse_vocab_and_merges(const std::string& vocab_text, const std::string& vocab_source, std::string_view merges,
                                                        const std::string& merges_source, const VocabularySettings& settings) {
  Bpe model;
  {
    const Json vocab = parse_foreign_json(vocab_text, vocab_source, 1);
    REQUIRE(FormatError, vocab.is_object(), "[tokenizer] ", vocab_source, ": the file must be an object {piece: id}");
    model.read_vocabulary({vocab, vocab_source, "vocab"});
  }
  read_merges(merges, merges_source, model);
  std::vector<AddedToken> added = added_tokens(settings, model, vocab_source);
  document::Steps steps;
  steps.pre_tokenizer = steps.decoder = document::byte_level(true);
  steps.pre_tokenizer["add_prefix_space"] = settings.add_prefix_space;
  const Family family = family_of(settings, model, vocab_source);
  if (family == Family::clip) {
    steps.normalizer = document::clip_normalizer();
    steps.pre_tokenizer = document::clip_pretokenizer();
    steps.post_processor = around(model, "<|startoftext|>", "<|endoftext|>");
    model.end_words_with(kWordEnd);
  } else if (family == Family::qwen2) {
    steps.normalizer = {{"type", "NFC"}};
    steps.pre_tokenizer = document::split_then_bytes(document::kQwenPattern);
  } else if (family == Family::roberta) { steps.post_processor = around(model, "<s>", "</s>"); }
  return document::tokenizer_of(std::move(model), std::move(added), std::move(steps), vocab_source);
}

// Ids: the 256 bytes in the order of their alphabet, the same with </w>, the merges, start and end of text.
std::shared_ptr<Tokenizer::Impl> parse_clip_merges(std::string_view text, const std::string& source) {
  static const std::vector<std::string> bytes = byte_pieces();
  const Merges merges = clip_merges_in(text, bytes, source);
  Bpe model;
  model.reserve(bytes.size() + merges.size() + 2, merges.size());
  auto add = [&](const std::string& piece) {
    const std::string fault = model.add(piece, model.size());
    REQUIRE(FormatError, fault.empty(), "[tokenizer] ", source, ": the piece '", piece, "' ", fault);
  };
  for (const std::string& piece : bytes) { add(piece); }
  for (const auto& [left, right] : merges) { add(left + right); }
  for (const auto& [left, right] : merges) { model.add_merge(left, right); }
  const char *start = "<|startoftext|>", *end = "<|endoftext|>";
  std::vector<AddedToken> added = {document::added_token(model.size(), start), document::added_token(model.size() + 1, end)};
  add(start);
  add(end);
  model.end_words_with(kWordEnd);
  document::Steps steps;
  steps.normalizer = openai_normalizer();
  steps.pre_tokenizer = document::clip_pretokenizer(document::kOpenAiClipPattern);
  steps.decoder = document::byte_level(true);  // as in CLIP's own tokenizer.json; </w> is the reader's to take away
  steps.post_processor = around(model, start, end);
  return document::tokenizer_of(std::move(model), std::move(added), std::move(steps), source);
}

}  // namespace pumice
