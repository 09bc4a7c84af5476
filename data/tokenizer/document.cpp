#include "pumice/data/tokenizer/document.h"

namespace pumice::tokenizer_document {

Json added_token(int64_t id, const std::string& content, bool special) {
  return {{"id", id}, {"content", content}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false},
          {"special", special}};
}

Json sequence(const char* of, std::vector<Json> parts) { return {{"type", "Sequence"}, {of, std::move(parts)}}; }

Json replace(const Json& pattern, const std::string& content) { return {{"type", "Replace"}, {"pattern", pattern}, {"content", content}}; }

Json byte_level(bool use_regex) { return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}}; }

Json split(const std::string& pattern, const char* behavior, bool invert) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", behavior}, {"invert", invert}};
}

Json split_then_bytes(const std::string& pattern) { return sequence("pretokenizers", {split(pattern, "Isolated", false), byte_level(false)}); }

Json clip_normalizer() { return sequence("normalizers", {{{"type", "NFC"}}, replace({{"Regex", "\\s+"}}, " "), {{"type", "Lowercase"}}}); }

Json clip_pretokenizer(const std::string& pattern) { return sequence("pretokenizers", {split(pattern, "Removed", true), byte_level(false)}); }

Json clip_post_processor(int64_t start, const std::string& start_token, int64_t end, const std::string& end_token) {
  return {{"type", "RobertaProcessing"}, {"sep", {end_token, end}}, {"cls", {start_token, start}}, {"trim_offsets", false},
          {"add_prefix_space", false}};
}

Json bpe(Json vocab, Json merges) {
  return {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr}, {"end_of_word_suffix", nullptr},
          {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", false}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}};
}

std::string text_of(Parts parts) {
  Json j = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  j["added_tokens"] = std::move(parts.added_tokens);
  j["normalizer"] = std::move(parts.normalizer);
  j["pre_tokenizer"] = std::move(parts.pre_tokenizer);
  j["post_processor"] = std::move(parts.post_processor);
  j["decoder"] = std::move(parts.decoder);
  j["model"] = std::move(parts.model);
  return j.dump(1) + "\n";
}

}  // namespace pumice::tokenizer_document
