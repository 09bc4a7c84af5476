// tokenizer.json in and out. What this library does not do is refused by name: an ignored setting would give wrong ids silently.
#include <nlohmann/json.hpp>

#include "pumice/data/tokenizer_impl.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/strict_json.h"

namespace pumice {
namespace {

using Json = nlohmann::json;
constexpr int kMaxDepth = 32;
constexpr int32_t kMaxId = 10'000'000;

struct Reader {
  const std::string& source;

  [[noreturn]] void fail(const std::string& path, const std::string& why) const {
    throw FormatError(concat_text("[tokenizer] ", source, ": ", path, " ", why), __FILE__, __LINE__);
  }

  Json parse(const std::string& text) const {
    Json j;
    std::string wrong = parse_strict_json(text, kMaxDepth, j);
    if (!wrong.empty()) { fail("the file", wrong); }
    if (!j.is_object() || !j.contains("model")) { fail("the file", "must be an object with a 'model': is it a tokenizer.json?"); }
    return j;
  }

  std::string type_of(const Json& j, const std::string& path) const {
    if (!j.is_object() || !j.contains("type") || !j["type"].is_string()) { fail(path + ".type", "must be a string"); }
    return j["type"].get<std::string>();
  }

  bool flag(const Json& j, const std::string& path, const char* key, bool fallback) const {
    if (!j.contains(key) || j[key].is_null()) { return fallback; }
    if (!j[key].is_boolean()) { fail(path + "." + key, "must be true or false"); }
    return j[key].get<bool>();
  }

  void normalizer(const Json& j, const std::string& path, Normalization& n) const {
    if (j.is_null()) { return; }
    std::string type = type_of(j, path);
    if (type == "NFC") {
      if (n.lowercase) { fail(path, "puts NFC after Lowercase; only NFC then Lowercase is supported"); }
      n.nfc = true;
    } else if (type == "Lowercase") { n.lowercase = true; }
    else if (type == "Sequence") {
      if (!j.contains("normalizers") || !j["normalizers"].is_array()) { fail(path + ".normalizers", "must be an array"); }
      size_t i = 0;
      for (const Json& part : j["normalizers"]) { normalizer(part, path + ".normalizers[" + std::to_string(i++) + "]", n); }
    } else { fail(path + ".type", "'" + type + "' is not supported (NFC, Lowercase, Sequence)"); }
  }

  struct Split { std::string pattern; bool prefix_space = false, byte_level = false; };

  void pre_tokenizer(const Json& j, const std::string& path, Split& split) const {
    std::string type = j.is_null() ? "null" : type_of(j, path);
    if (type == "ByteLevel") {
      split.byte_level = true;
      split.prefix_space |= flag(j, path, "add_prefix_space", true);
      if (flag(j, path, "use_regex", true)) {
        if (!split.pattern.empty()) { fail(path + ".use_regex", "splits a second time; only one pattern is supported"); }
        split.pattern = kGpt2Pattern;
      }
    } else if (type == "Split") {
      if (!split.pattern.empty() || split.byte_level) { fail(path, "is a second split; only Split then ByteLevel is supported"); }
      if (!j.contains("pattern") || !j["pattern"].is_object() || !j["pattern"].contains("Regex") || !j["pattern"]["Regex"].is_string()) {
        fail(path + ".pattern", "must be {\"Regex\": \"...\"}");
      }
      if (!j.contains("behavior") || j["behavior"] != "Isolated") { fail(path + ".behavior", "must be \"Isolated\""); }
      if (flag(j, path, "invert", false)) { fail(path + ".invert", "true is not supported"); }
      split.pattern = j["pattern"]["Regex"].get<std::string>();
    } else if (type == "Sequence") {
      if (!j.contains("pretokenizers") || !j["pretokenizers"].is_array()) { fail(path + ".pretokenizers", "must be an array"); }
      size_t i = 0;
      for (const Json& part : j["pretokenizers"]) { pre_tokenizer(part, path + ".pretokenizers[" + std::to_string(i++) + "]", split); }
    } else { fail(path + ".type", "'" + type + "' is not supported (ByteLevel, Split, Sequence)"); }
  }
};

int32_t id_in(const Reader& r, const Json& j, const std::string& path) {
  if (!j.is_number_integer() || j.get<int64_t>() < 0 || j.get<int64_t>() > kMaxId) { r.fail(path, "must be an id from 0 to " + std::to_string(kMaxId)); }
  return j.get<int32_t>();
}

std::pair<std::string, std::string> merge_in(const Reader& r, const Json& j, const std::string& path) {
  if (j.is_string()) {
    std::string text = j.get<std::string>();
    size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) { return {text.substr(0, space), text.substr(space + 1)}; }
  } else if (j.is_array() && j.size() == 2 && j[0].is_string() && j[1].is_string()) {
    return {j[0].get<std::string>(), j[1].get<std::string>()};
  }
  r.fail(path, "must be \"left right\" or [\"left\", \"right\"]");
}

}  // namespace

Tokenizer Tokenizer::parse(const std::string& json, const std::string& source) {
  Reader r{source};
  Json j = r.parse(json);
  auto impl = std::make_unique<Impl>();
  const Json& model = j["model"];
  std::string type = model.is_object() && !model.contains("type") && model.contains("merges") ? "BPE" : r.type_of(model, "model");
  if (type != "BPE") { r.fail("model.type", "'" + type + "' is not supported (BPE)"); }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.contains(key) && model[key].is_string() && !model[key].get<std::string>().empty()) { r.fail(std::string("model.") + key, "is not supported"); }
  }
  if (model.contains("dropout") && model["dropout"].is_number() && model["dropout"].get<double>() != 0) { r.fail("model.dropout", "is not supported"); }
  if (r.flag(model, "model", "byte_fallback", false)) { r.fail("model.byte_fallback", "true is not supported"); }
  impl->ignore_merges = r.flag(model, "model", "ignore_merges", false);

  if (!model.contains("vocab") || !model["vocab"].is_object()) { r.fail("model.vocab", "must be an object"); }
  for (const auto& [piece, id_json] : model["vocab"].items()) {
    int32_t id = id_in(r, id_json, "model.vocab['" + piece + "']");
    std::string bytes;
    if (!from_byte_alphabet(piece, bytes) || bytes.empty()) { continue; }  // an added token that is listed here too
    if (int32_t(impl->pieces.size()) <= id) { impl->pieces.resize(size_t(id) + 1); }
    if (!impl->pieces[size_t(id)].empty()) { r.fail("model.vocab['" + piece + "']", "has the id " + std::to_string(id) + " of another piece"); }
    impl->pieces[size_t(id)] = bytes;
    impl->ids[bytes] = id;
  }
  if (!model.contains("merges") || !model["merges"].is_array()) { r.fail("model.merges", "must be an array"); }
  size_t rank = 0;
  for (const Json& merge : model["merges"]) {
    std::string path = "model.merges[" + std::to_string(rank++) + "]", left, right;
    auto [a, b] = merge_in(r, merge, path);
    if (!from_byte_alphabet(a, left) || !from_byte_alphabet(b, right) || !impl->ids.count(left) || !impl->ids.count(right) || !impl->ids.count(left + right)) {
      r.fail(path, "names a piece that model.vocab lacks");
    }
    impl->merges.emplace_back(impl->ids.at(left), impl->ids.at(right));
  }
  if (j.contains("added_tokens") && j["added_tokens"].is_array()) {
    size_t i = 0;
    for (const Json& token : j["added_tokens"]) {
      std::string path = "added_tokens[" + std::to_string(i++) + "]";
      if (!token.is_object() || !token.contains("content") || !token["content"].is_string() || !token.contains("id")) { r.fail(path, "needs an id and a content"); }
      for (const char* key : {"single_word", "lstrip", "rstrip"}) {
        if (r.flag(token, path, key, false)) { r.fail(path + "." + key, "true is not supported"); }
      }
      AddedToken t{id_in(r, token["id"], path + ".id"), token["content"].get<std::string>(), r.flag(token, path, "special", false)};
      if (t.content.empty()) { r.fail(path + ".content", "is empty"); }
      impl->added.push_back(t);
    }
  }
  r.normalizer(j.contains("normalizer") ? j["normalizer"] : Json(), "normalizer", impl->normalization);
  Reader::Split split;
  r.pre_tokenizer(j.contains("pre_tokenizer") ? j["pre_tokenizer"] : Json(), "pre_tokenizer", split);
  if (!split.byte_level) { r.fail("pre_tokenizer", "needs a ByteLevel step"); }
  if (split.pattern.empty()) { split.pattern = "[\\s\\S]+"; }
  impl->pretokenizer = std::make_unique<Pretokenizer>(split.pattern, split.prefix_space);
  impl->index_merges();
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::load(const std::string& path) { return parse(read_file(path), path); }

std::string Tokenizer::to_json() const {
  using Ordered = nlohmann::ordered_json;
  const Impl& t = *impl_;
  Ordered j;
  j["version"] = "1.0";
  j["truncation"] = nullptr;
  j["padding"] = nullptr;
  j["added_tokens"] = Ordered::array();
  for (const AddedToken& a : t.added) {
    j["added_tokens"].push_back({{"id", a.id}, {"content", a.content}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", a.special}});
  }
  Ordered parts = Ordered::array();
  if (t.normalization.nfc) { parts.push_back({{"type", "NFC"}}); }
  if (t.normalization.lowercase) { parts.push_back({{"type", "Lowercase"}}); }
  j["normalizer"] = parts.empty() ? Ordered() : parts.size() == 1 ? parts[0] : Ordered{{"type", "Sequence"}, {"normalizers", parts}};
  const bool prefix = t.pretokenizer->add_prefix_space(), gpt2 = t.pretokenizer->pattern() == kGpt2Pattern;
  Ordered bytes = {{"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"trim_offsets", true}, {"use_regex", gpt2}};
  Ordered split = {{"type", "Split"}, {"pattern", {{"Regex", t.pretokenizer->pattern()}}}, {"behavior", "Isolated"}, {"invert", false}};
  j["pre_tokenizer"] = gpt2 ? bytes : Ordered{{"type", "Sequence"}, {"pretokenizers", {split, bytes}}};
  j["post_processor"] = nullptr;
  j["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  Ordered model = {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr}, {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", t.ignore_merges}};
  model["vocab"] = Ordered::object();
  for (size_t id = 0; id < t.pieces.size(); ++id) {
    if (!t.pieces[id].empty()) { model["vocab"][to_byte_alphabet(t.pieces[id])] = id; }
  }
  model["merges"] = Ordered::array();
  for (auto [left, right] : t.merges) { model["merges"].push_back({to_byte_alphabet(t.pieces[size_t(left)]), to_byte_alphabet(t.pieces[size_t(right)])}); }
  j["model"] = model;
  return j.dump(1) + "\n";
}

}  // namespace pumice
