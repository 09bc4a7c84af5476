#include <algorithm>
#include <array>
#include <bitset>
#include <charconv>
#include <unordered_map>

#include "pumice/data/text.h"
#include "pumice/data/tokenizer/bpe.h"
#include "pumice/data/tokenizer/byte_alphabet.h"
#include "pumice/data/tokenizer/document.h"
#include "pumice/data/tokenizer/pretokenizer.h"
#include "pumice/data/tokenizer/vocabularies.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

namespace document = tokenizer_document;
constexpr size_t kLongestPiece = 1024;  // every split of a piece is looked up

using Special = std::vector<std::pair<int32_t, std::string>>;  // an id below 0 is the next one

Special qwen_special() {
  Special s = {{-1, "<|endoftext|>"}, {-1, "<|im_start|>"}, {-1, "<|im_end|>"}};
  for (int i = 0; i < 205; ++i) { s.emplace_back(-1, "<|extra_" + std::to_string(i) + "|>"); }
  return s;
}

// StableLM-2's, in order from 100257.
Special arcade_special() {
  Special s;
  for (const char* name :
       {"endoftext", "fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "gh_stars", "filename", "issue_start", "issue_comment", "issue_closed",
        "jupyter_start", "jupyter_text", "jupyter_code", "jupyter_output", "empty_output", "commit_before", "commit_msg", "commit_after", "reponame",
        "endofprompt", "im_start", "im_end", "pause", "reg0", "reg1", "reg2", "reg3", "reg4", "reg5", "reg6", "reg7", "extra0"}) {
    s.emplace_back(100257 + int32_t(s.size()), "<|" + std::string(name) + "|>");
  }
  return s;
}

Special cl100k_special() {
  return {{100257, "<|endoftext|>"}, {100258, "<|fim_prefix|>"}, {100259, "<|fim_middle|>"}, {100260, "<|fim_suffix|>"}, {100276, "<|endofprompt|>"}};
}

Special r50k_special() { return {{50256, "<|endoftext|>"}}; }

// What a .tiktoken file leaves to the program that reads it.
struct Kind {
  const char* name;  // in the file's name
  const char* pattern;
  bool nfc;
  Special (*special)();
};
constexpr Kind kKinds[] = {{"qwen", document::kQwenPattern, true, qwen_special},
                           {"arcade100k", document::kQwenPattern, true, arcade_special},
                           {"cl100k", document::kCl100kPattern, false, cl100k_special},
                           {"r50k", kGpt2Pattern, false, r50k_special}};

const Kind& kind_of(const std::string& source) {
  const std::string file = ascii_lower(source.substr(source.find_last_of('/') + 1));
  for (const Kind& kind : kKinds) {
    if (file.find(kind.name) != std::string::npos) { return kind; }
  }
  throw FormatError(concat_text("[tokenizer] ", source,
      ": a .tiktoken file does not hold its pattern and special tokens; they are known for files whose names "
                                "hold qwen, arcade100k, cl100k or r50k. Rename it to the one it is"), __FILE__, __LINE__);
}

constexpr std::array<int8_t, 256> base64_values() {
  std::array<int8_t, 256> values{};
  values.fill(-1);
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < kDigits.size(); ++i) { values[static_cast<unsigned char>(kDigits[i])] = int8_t(i); }
  return values;
}

bool from_base64(std::string_view text, std::string& bytes) {
  static constexpr std::array<int8_t, 256> kValues = base64_values();
  bytes.clear();
  if (text.empty() || text.size() % 4 != 0) { return false; }
  uint32_t bits = 0;
  int have = 0;
  for (int padding = 0; padding < 2 && text.back() == '='; ++padding) { text.remove_suffix(1); }
  for (unsigned char c : text) {
    const int8_t v = kValues[c];
    if (v < 0) { return false; }
    bits = bits << 6 | uint32_t(v);
    have += 6;
    if (have >= 8) {
      have -= 8;
      bytes += char(bits >> have & 0xff);
    }
  }
  return true;
}

struct Ranked { int32_t rank; size_t line; std::string piece; };

// By rank. All that is wrong with single lines is found before anything is made of them.
std::vector<Ranked> ranks_in(std::string_view text, const std::string& source) {
  std::vector<Ranked> ranks;
  std::bitset<256> bytes;
  std::string piece;
  each_line(text, [&](std::string_view line, size_t number) {
    if (line.empty()) { return; }
    const size_t space = line.find(' ');
    const std::string_view digits = space == std::string_view::npos ? "" : line.substr(space + 1);
    int32_t rank = 0;
    const bool counts = !digits.empty() && digits.size() <= 8 && digits.find_first_not_of("0123456789") == std::string_view::npos;
    REQUIRE(FormatError, counts && from_base64(line.substr(0, space), piece) && piece.size() <= kLongestPiece, "[tokenizer] ", source, ": line ",
            number, " must be the base64 of at most ", kLongestPiece, " bytes, a space and a rank");
    std::from_chars(digits.data(), digits.data() + digits.size(), rank);
    REQUIRE(FormatError, rank <= kMaxTokenId, "[tokenizer] ", source, ": line ", number, ": the rank ", rank, " is larger than ", kMaxTokenId);
    if (piece.size() == 1) { bytes.set(static_cast<unsigned char>(piece[0])); }
    ranks.push_back({rank, number, piece});
  });
  for (size_t b = 0; b < 256; ++b) {
    REQUIRE(FormatError, bytes[b], "[tokenizer] ", source, ": no line holds the byte ", b, "; a vocabulary needs all 256");
  }
  std::stable_sort(ranks.begin(), ranks.end(), [](const Ranked& a, const Ranked& b) { return a.rank < b.rank; });
  for (size_t i = 0; i + 1 < ranks.size(); ++i) {
    REQUIRE(FormatError, ranks[i].rank != ranks[i + 1].rank, "[tokenizer] ", source, ": the lines ", ranks[i].line, " and ", ranks[i + 1].line,
            " both have the rank ", ranks[i].rank);
  }
  return ranks;
}

// tiktoken joins any two neighbours whose bytes together are a piece, the piece of lowest rank first: every split of every piece is a merge.
Bpe model_of(const std::vector<Ranked>& ranks, const std::string& source) {
  std::unordered_map<std::string_view, int32_t> rank_of;
  rank_of.reserve(ranks.size());
  Bpe model;
  model.reserve(ranks.size(), ranks.size());
  for (const auto& [rank, line, piece] : ranks) {
    REQUIRE(FormatError, rank_of.emplace(piece, rank).second, "[tokenizer] ", source, ": line ", line, " holds a piece that another line has");
    const std::string fault = model.add(to_byte_alphabet(piece), rank);
    REQUIRE(FormatError, fault.empty(), "[tokenizer] ", source, ": the piece of line ", line, " ", fault);
  }
  std::vector<std::pair<int32_t, int32_t>> splits;
  for (const auto& [rank, line, text] : ranks) {
    const std::string_view piece = text;
    splits.clear();
    for (size_t at = 1; at < piece.size(); ++at) {
      auto left = rank_of.find(piece.substr(0, at)), right = rank_of.find(piece.substr(at));
      if (left != rank_of.end() && right != rank_of.end()) { splits.emplace_back(left->second, right->second); }
    }
    std::sort(splits.begin(), splits.end());
    for (const auto& [left, right] : splits) { model.add_merge(left, right, rank); }
  }
  model.take_whole_words();
  return model;
}

}  // namespace

std::shared_ptr<Tokenizer::Impl> parse_tiktoken(std::string_view text, const std::string& source) {
  const Kind& kind = kind_of(source);
  Bpe model = model_of(ranks_in(text, source), source);
  std::vector<AddedToken> added;
  int32_t next = model.size();
  for (const auto& [id, name] : kind.special()) { added.push_back(document::added_token(id < 0 ? next++ : id, name)); }
  document::Steps steps;
  if (kind.nfc) { steps.normalizer = {{"type", "NFC"}}; }
  steps.pre_tokenizer = document::split_then_bytes(kind.pattern);
  steps.decoder = document::byte_level(true);
  return document::tokenizer_of(std::move(model), std::move(added), std::move(steps), source);
}

}  // namespace pumice
