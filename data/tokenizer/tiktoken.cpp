#include <algorithm>
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

using Special = std::vector<std::pair<int64_t, std::string>>;  // an id below 0 is the next one

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
    s.emplace_back(100257 + int64_t(s.size()), "<|" + std::string(name) + "|>");
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

bool from_base64(std::string_view text, std::string& bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  bytes.clear();
  if (text.empty() || text.size() % 4 != 0) { return false; }
  uint32_t bits = 0;
  int have = 0;
  for (int padding = 0; padding < 2 && text.back() == '='; ++padding) { text.remove_suffix(1); }
  for (char c : text) {
    const size_t v = kDigits.find(c);
    if (v == std::string_view::npos) { return false; }
    bits = bits << 6 | uint32_t(v);
    have += 6;
    if (have >= 8) {
      have -= 8;
      bytes += char(bits >> have & 0xff);
    }
  }
  return true;
}

struct Ranks {
  std::unordered_map<std::string, int64_t> of;  // piece -> rank
  std::vector<std::pair<int64_t, std::string>> sorted;
};

Ranks ranks_in(std::string_view text, const std::string& source) {
  Ranks ranks;
  each_line(text, [&](std::string_view line, size_t number) {
    if (line.empty()) { return; }
    const size_t space = line.find(' ');
    const std::string_view digits = space == std::string_view::npos ? "" : line.substr(space + 1);
    std::string piece;
    const bool counts = !digits.empty() && digits.size() <= 8 && digits.find_first_not_of("0123456789") == std::string_view::npos;
    REQUIRE(FormatError, counts && from_base64(line.substr(0, space), piece) && piece.size() <= kLongestPiece, "[tokenizer] ", source, ": line ",
            number, " must be the base64 of at most ", kLongestPiece, " bytes, a space and a rank");
    const int64_t rank = std::stoll(std::string(digits));
    REQUIRE(FormatError, rank <= kMaxTokenId, "[tokenizer] ", source, ": line ", number, ": the rank ", rank, " is larger than ", kMaxTokenId);
    REQUIRE(FormatError, ranks.of.emplace(piece, rank).second, "[tokenizer] ", source, ": line ", number, " holds a piece that an earlier line has");
    ranks.sorted.emplace_back(rank, piece);
  });
  std::sort(ranks.sorted.begin(), ranks.sorted.end());
  for (size_t i = 0; i + 1 < ranks.sorted.size(); ++i) {
    REQUIRE(FormatError, ranks.sorted[i].first != ranks.sorted[i + 1].first, "[tokenizer] ", source, ": two pieces have the rank ",
        ranks.sorted[i].first);
  }
  for (int b = 0; b < 256; ++b) {
    REQUIRE(FormatError, ranks.of.count(std::string(1, char(b))), "[tokenizer] ", source, ": no line holds the byte ", b,
        "; a vocabulary needs all 256");
  }
  return ranks;
}

// tiktoken joins any two neighbours whose bytes together are a piece, the piece of lowest rank first: every split of every piece is a merge.
document::Json merges_of(const Ranks& ranks) {
  document::Json merges = document::Json::array();
  struct Split { int64_t left, right; size_t at; };
  std::vector<Split> splits;
  for (const auto& [rank, piece] : ranks.sorted) {
    splits.clear();
    for (size_t at = 1; at < piece.size(); ++at) {
      auto left = ranks.of.find(piece.substr(0, at)), right = ranks.of.find(piece.substr(at));
      if (left != ranks.of.end() && right != ranks.of.end()) { splits.push_back({left->second, right->second, at}); }
    }
    std::sort(splits.begin(), splits.end(), [](const Split& a, const Split& b) { return std::pair(a.left, a.right) < std::pair(b.left, b.right); });
    for (const Split& s : splits) { merges.push_back({to_byte_alphabet(piece.substr(0, s.at)), to_byte_alphabet(piece.substr(s.at))}); }
  }
  return merges;
}

}  // namespace

std::string json_of_tiktoken(std::string_view text, const std::string& source) {
  const Kind& kind = kind_of(source);
  const Ranks ranks = ranks_in(text, source);
  document::Json vocab = document::Json::object();
  for (const auto& [rank, piece] : ranks.sorted) { vocab[to_byte_alphabet(piece)] = rank; }
  document::Parts parts;
  int64_t next = ranks.sorted.back().first + 1;
  for (const auto& [id, name] : kind.special()) { parts.added_tokens.push_back(document::added_token(id < 0 ? next++ : id, name)); }
  if (kind.nfc) { parts.normalizer = {{"type", "NFC"}}; }
  parts.pre_tokenizer = document::split_then_bytes(kind.pattern);
  parts.decoder = document::byte_level(true);
  parts.model = document::bpe(std::move(vocab), merges_of(ranks));
  parts.model["ignore_merges"] = true;  // a word that is a piece is taken whole
  return document::text_of(std::move(parts));
}

}  // namespace pumice
