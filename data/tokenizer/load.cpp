// Finds out what kind of tokenizer a path holds.
#include <algorithm>
#include <filesystem>

#include "pumice/data/gzip.h"
#include "pumice/data/tokenizer/impl.h"
#include "pumice/data/tokenizer/json_part.h"
#include "pumice/data/tokenizer/bpe.h"
#include "pumice/data/tokenizer/sentencepiece.h"
#include "pumice/data/tokenizer/vocabularies.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/file_kind.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
constexpr uint64_t kMostUnpacked = uint64_t(64) << 20;
constexpr const char* kWanted =
    "a tokenizer.json, vocab.json with merges.txt, gzip-packed CLIP vocabulary, .tiktoken or SentencePiece .model is wanted";

json read_json_if_there(const std::string& path) { return fs::is_regular_file(path) ? parse_foreign_json(read_file(path), path) : json(); }

// "</s>" or {"content": "</s>", ...}; "" for null.
std::string content_of(const JsonPart& part) {
  if (part.value().is_null()) { return ""; }
  return part.value().is_object() ? part.at("content").text() : part.text();
}

VocabularySettings settings_beside(const fs::path& directory) {
  VocabularySettings s;
  const std::string config_name = directory / "tokenizer_config.json", map_name = directory / "special_tokens_map.json";
  const std::string added_name = directory / "added_tokens.json";
  const json config = read_json_if_there(config_name), map = read_json_if_there(map_name), added = read_json_if_there(added_name);
  const JsonPart c(config, config_name, ""), m(map, map_name, ""), a(added, added_name, "added_tokens");
  s.tokenizer_class = c.text("tokenizer_class", "");
  s.add_prefix_space = c.flag("add_prefix_space", false);
  s.legacy = c.flag("legacy", true);
  for (const char* role : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}) {
    for (const JsonPart& from : {c, m}) {
      if (std::string token = content_of(from.at(role)); !token.empty()) { s.special.push_back(token); }
    }
  }
  for (const JsonPart& from : {c, m}) {
    if (!from.has("additional_special_tokens")) { continue; }
    from.at("additional_special_tokens").each([&](const JsonPart& token) { s.special.push_back(content_of(token)); });
  }
  for (const auto& [token, id] : added.items()) {
    const bool special = std::find(s.special.begin(), s.special.end(), token) != s.special.end();
    const int32_t n = a.entry(token, id).integer(0, kMaxTokenId, "an id");
    s.added[n] = json{{"id", n}, {"content", token}, {"special", special}, {"normalized", !special}}.dump();
  }
  const JsonPart decoder = c.at("added_tokens_decoder");
  for (const auto& [id, token] : decoder.value().items()) {  // of newer files, with flags: overrules added_tokens.json
    const bool number = !id.empty() && id.size() <= 8 && id.find_first_not_of("0123456789") == std::string::npos;
    if (!number || !token.is_object()) { decoder.fail("must map ids to tokens"); }
    json entry = token;
    entry["id"] = std::stoll(id);
    entry["content"] = decoder.entry(id, token).at("content").text();
    s.added[entry["id"].get<int64_t>()] = entry.dump();
  }
  return s;
}

std::shared_ptr<Tokenizer::Impl> load_vocab_and_merges(const fs::path& vocab, const fs::path& merges) {
  REQUIRE(IoError, fs::exists(vocab) && fs::exists(merges), "[tokenizer] ", vocab.string(), " and ", merges.string(), " belong together; ",
          (fs::exists(vocab) ? merges : vocab).string(), " is missing");
  return parse_vocab_and_merges(read_file(vocab), vocab, read_file(merges), merges, settings_beside(vocab.parent_path()));
}

// The end-of-text token that the file's directory names; "" for none.
std::string eos_beside(const fs::path& directory, const Tokenizer::Impl& t) {
  const std::string name = directory / "tokenizer_config.json";
  const json config = read_json_if_there(name);
  const JsonPart part(config, name, "");
  const std::string eos = content_of(part.at("eos_token"));
  if (!eos.empty() && !t.id_of(eos)) { part.at("eos_token").fail("'" + eos + "' is not in the vocabulary"); }
  return eos;
}

// vocab.json beside merges.txt, clip-vocab.json beside clip-merges.txt.
std::string partner(const std::string& name, const std::string& end, const std::string& other) {
  return name.substr(0, name.size() - end.size()) + other;
}

std::shared_ptr<Tokenizer::Impl> load_file(const fs::path& path) {
  const std::string name = path.string();
  if (name.ends_with("vocab.json")) { return load_vocab_and_merges(path, partner(name, "vocab.json", "merges.txt")); }
  if (name.ends_with("merges.txt")) { return load_vocab_and_merges(partner(name, "merges.txt", "vocab.json"), path); }
  const std::string content = read_file(name);
  if (content.rfind("\x1f\x8b", 0) == 0) { return parse_clip_merges(gunzip(content, name, kMostUnpacked), name); }
  const std::string kind = kind_of_file(content);
  REQUIRE(FormatError, kind.empty(), "[tokenizer] ", name, " is ", kind, "; ", kWanted);
  if (name.ends_with(".model")) {
    const VocabularySettings settings = settings_beside(path.parent_path());
    return load_sentencepiece(content, name, settings.added, settings.legacy);
  }
  if (name.ends_with(".tiktoken")) { return parse_tiktoken(content, name); }
  const size_t begin = content.find_first_not_of(" \t\r\n");
  REQUIRE(FormatError, name.ends_with(".json") || (begin != std::string::npos && content[begin] == '{'), "[tokenizer] ", name,
          " is no tokenizer: ", kWanted);
  return parse_tokenizer_json(content, name);
}

fs::path file_in(const fs::path& directory) {
  const fs::path latest = directory / "checkpoints" / "latest";  // a training run
  if (fs::is_directory(latest)) { return file_in(latest); }
  for (const char* name : {"tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "bpe_simple_vocab_16e6.txt.gz"}) {
    if (fs::exists(directory / name)) { return directory / name; }
  }
  std::vector<std::string> ranks;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".tiktoken") { ranks.push_back(entry.path()); }
  }
  REQUIRE(FormatError, ranks.size() <= 1, "[tokenizer] ", directory.string(), " holds several: ", join(ranks), "; name one");
  REQUIRE(IoError, ranks.size() == 1, "[tokenizer] ", directory.string(),
          " holds no tokenizer: none of tokenizer.json, tokenizer.model, spiece.model, vocab.json (with merges.txt), "
          "bpe_simple_vocab_16e6.txt.gz and *.tiktoken is there, nor a run's checkpoints/latest");
  return ranks[0];
}

}  // namespace

Tokenizer Tokenizer::load(const std::string& path) {
  REQUIRE(IoError, fs::exists(path), "[tokenizer] ", path, " does not exist. Give a tokenizer file, a directory with one, or a training run");
  const fs::path file = fs::is_directory(path) ? file_in(path) : fs::path(path);
  std::shared_ptr<Impl> t = load_file(file);
  t->eos = eos_beside(file.parent_path(), *t);
  return Tokenizer(std::move(t));
}

}  // namespace pumice
