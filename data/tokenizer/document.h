// The parts of a tokenizer.json and its text, for tokenizers that come in other formats.
#pragma once
#include <nlohmann/json.hpp>
#include <memory>
#include <string>
#include <vector>

#include "pumice/data/tokenizer/added_tokens.h"
#include "pumice/data/tokenizer/bpe.h"
#include "pumice/data/tokenizer/impl.h"

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

AddedToken added_token(int32_t id, const std::string& content, bool special = true);
Json sequence(const char* of, std::vector<Json> parts);        // of: "normalizers", "pretokenizers", "decoders"
Json replace(const Json& pattern, const std::string& content);  // pattern: {"String": ...} or {"Regex": ...}
Json byte_level(bool use_regex);
Json split(const std::string& pattern, const char* behavior, bool invert);
Json split_then_bytes(const std::string& pattern);              // Qwen's pre-tokenizer
Json clip_normalizer();
Json clip_pretokenizer(const std::string& pattern = kClipPattern);
Json clip_post_processor(int32_t start, const std::string& start_token, int32_t end, const std::string& end_token);

struct Steps { Json normalizer, pre_tokenizer, post_processor, decoder; };
std::string text_of(const Bpe& model, const std::vector<AddedToken>& added, const Steps& steps);

// What parse_tokenizer_json() makes of that text, without writing and reading it: file() writes it when it is asked for.
std::shared_ptr<Tokenizer::Impl> tokenizer_of(Bpe model, std::vector<AddedToken> added, Steps steps, const std::string& source);

}  // namespace pumice::tokenizer_document
