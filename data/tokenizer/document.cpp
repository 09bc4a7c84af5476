#include "pumice/data/tokenizer/document.h"

namespace pumice::tokenizer_document {

AddedToken added_token(int32_t id, const std::string& content, bool special) { return {.id = id, .content = content, .special = special}; }

Json sequence(const char* of, std::vector<Json> parts) { return {{"type", "Sequence"}, {of, std::move(parts)}}; }

Json replace(const Json& pattern, const std::string& content) { return {{"type", "Replace"}, {"pattern", pattern}, {"content", content}}; }

Json byte_level(bool use_regex) { return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}}; }

Json split(const std::string& pattern, const char* behavior, bool invert) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", behavior}, {"invert", invert}};
}

Json split_then_bytes(const std::string& pattern) { return sequence("pretokenizers", {split(pattern, "Isolated", false), byte_level(false)}); }

Json clip_normalizer() { return sequence("normalizers", {{{"type", "NFC"}}, replace({{"Regex", "\\s+"}}, " "), {{"type", "Lowercase"}}}); }

Json clip_pretokenizer(const std::string& pattern) { return sequence("pretokenizers", {split(pattern, "Removed", true), byte_level(false)}); }

Json clip_post_processor(int32_t start, const std::string& start_token, int32_t end, const std::string& end_token) {
  return {{"type", "RobertaProcessing"}, {"sep", {end_token, end}}, {"cls", {start_token, start}}, {"trim_offsets", false},
          {"add_prefix_space", false}};
}

namespace {

Json model_of(const Bpe& bpe) {
  auto text_or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  Json vocab = Json::object(), merges = Json::array();
  const std::vector<std::string>& pieces = bpe.pieces();
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (!pieces[id].empty()) { vocab.emplace(pieces[id], id); }
  }
  for (const auto& [left, right] : bpe.merges()) { merges.push_back({pieces[size_t(left)], pieces[size_t(right)]}); }
  return {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", text_or_null(bpe.unknown())}, {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", text_or_null(bpe.suffix())}, {"fuse_unk", bpe.fuse_unknown()}, {"byte_fallback", bpe.byte_fallback()},
          {"ignore_merges", bpe.ignore_merges()}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}};
}

}  // namespace

std::string text_of(const Bpe& model, const std::vector<AddedToken>& added, const Steps& steps) {
  Json j = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", Json::array()}};
  for (const AddedToken& t : added) {
    j["added_tokens"].push_back({{"id", t.id}, {"content", t.content}, {"single_word", t.single_word}, {"lstrip", t.lstrip}, {"rstrip", t.rstrip},
                                 {"normalized", t.normalized}, {"special", t.special}});
  }
  j["normalizer"] = steps.normalizer;
  j["pre_tokenizer"] = steps.pre_tokenizer;
  j["post_processor"] = steps.post_processor;
  j["decoder"] = steps.decoder;
  j["model"] = model_of(model);
  return j.dump(1) + "\n";
}

}  // namespace pumice::tokenizer_document
