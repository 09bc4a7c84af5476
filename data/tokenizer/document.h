// Builds the text of a tokenizer.json from its parts, for tokenizers that come in other formats.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace pumice::tokenizer_document {

using Json = nlohmann::json;

// Words of Qwen 1 to 2 and StableLM-2, and of cl100k_base.
inline constexpr const char* kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr const char* kCl100kPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr const char* kClipPattern = R"('s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";
// A long s (U+017F) is an s, too.
inline constexpr const char* kOpenAiClipPattern = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

Json added_token(int64_t id, const std::string& content, bool special = true);
Json sequence(const char* of, std::vector<Json> parts);        // of: "normalizers", "pretokenizers", "decoders"
Json replace(const Json& pattern, const std::string& content);  // pattern: {"String": ...} or {"Regex": ...}
Json byte_level(bool use_regex);
Json split(const std::string& pattern, const char* behavior, bool invert);
Json split_then_bytes(const std::string& pattern);              // Qwen's pre-tokenizer
Json clip_normalizer();
Json clip_pretokenizer(const std::string& pattern = kClipPattern);
Json clip_post_processor(int64_t start, const std::string& start_token, int64_t end, const std::string& end_token);
Json bpe(Json vocab, Json merges);                              // the "model", with no option set

struct Parts {
  Json model, added_tokens = Json::array(), normalizer, pre_tokenizer, post_processor, decoder;
};
std::string text_of(Parts parts);

}  // namespace pumice::tokenizer_document
