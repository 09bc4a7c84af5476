#include "pumice/data/tokenizer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;
const std::string kFixtures = std::string(PUMICE_FIXTURES) + "/data/fixtures/tokenizer/";

struct Family { const char *name, *kind; };
constexpr Family kFamilies[] = {
    {"gpt2", "byte-level BPE"}, {"phi", "byte-level BPE"}, {"qwen", "byte-level BPE"}, {"stablelm", "byte-level BPE"}, {"neox", "byte-level BPE"},
    {"llama3", "byte-level BPE"}, {"llama", "BPE with byte fallback"}, {"mistral", "BPE with byte fallback"}, {"clip", "byte-level BPE"},
    {"digits", "byte-level BPE"}, {"odd", "BPE"}, {"words", "BPE"}};

TEST(Tokenizer, IdsAndTextsOfHuggingFaceTokenizers) {
  const std::vector<std::string> texts = parse_json(read_file(kFixtures + "strings.json"));
  ASSERT_GE(texts.size(), 150u);
  for (const Family& family : kFamilies) {
    Tokenizer t = Tokenizer::load(kFixtures + family.name + ".json");
    EXPECT_EQ(t.kind(), family.kind) << family.name;
    const auto expected = parse_json(read_file(kFixtures + family.name + ".ids.json"));
    EXPECT_EQ(t.prefix(), std::vector<int32_t>(expected["prefix"])) << family.name;
    EXPECT_EQ(t.suffix(), std::vector<int32_t>(expected["suffix"])) << family.name;
    ASSERT_EQ(expected["rows"].size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const std::vector<int32_t> want = expected["rows"][i]["ids"];
      EXPECT_EQ(t.encode(texts[i]), want) << family.name << " " << i << ": " << texts[i];
      EXPECT_EQ(t.decode(want), expected["rows"][i]["text"].get<std::string>()) << family.name << " " << i << ": " << texts[i];
    }
  }
}

std::vector<std::string> captions() {
  std::vector<std::string> all;
  for (const char* colour : {"red", "green", "blue"}) {
    for (const char* thing : {"apple", "kite", "fox"}) {
      all.push_back(std::string("a ") + colour + " " + thing);
      all.push_back(std::string("A photo of a ") + colour + " " + thing + ".");
    }
  }
  return all;
}

TEST(Tokenizer, TrainsWordsAndDecodesWhatItEncodes) {
  Tokenizer t = Tokenizer::train(captions(), {.vocab_size = 400});
  EXPECT_EQ(t.encode("a red apple").size(), 3u);
  EXPECT_EQ(t.decode(t.encode("a RED fox!")), "a red fox!");
  EXPECT_EQ(*t.id_of("<|endoftext|>"), t.vocab_size() - 1);
  EXPECT_EQ(t.eos_id(), t.vocab_size() - 1);
  Tokenizer same = Tokenizer::train(captions(), {.vocab_size = 400});
  EXPECT_EQ(t.file(), same.file());
  EXPECT_EQ(t.fingerprint(), same.fingerprint());
  EXPECT_EQ(Tokenizer::train(captions(), {.vocab_size = 260}).vocab_size(), 260);
  EXPECT_NE(Tokenizer::train(captions(), {.vocab_size = 260}).fingerprint(), t.fingerprint());
}

TEST(Tokenizer, BytesThatAreNotUtf8AndLongWords) {
  Tokenizer t = Tokenizer::train(captions(), {.vocab_size = 300});
  const std::string broken = "a\xff\xc3 \xe2\x82 fox\xf0\x9f";
  EXPECT_EQ(t.decode(t.encode(broken)), broken);
  std::string word(1 << 20, 'a');
  EXPECT_EQ(t.decode(t.encode(word)), word);
}

TEST(Tokenizer, ErrorsNameThePlace) {
  auto text = [](const std::string& json) { return message_of<FormatError>([&] { Tokenizer::parse(json, "t.json"); }); };
  EXPECT_NE(text("{").find("[tokenizer] t.json: the file is not valid JSON"), std::string::npos);
  EXPECT_EQ(text("{}"), "[tokenizer] t.json: the file must be an object with a 'model': is it a tokenizer.json?");
  EXPECT_EQ(text(R"({"model": {"type": "Unigram"}})"), "[tokenizer] t.json: model.type 'Unigram' is not supported (BPE)");
  EXPECT_EQ(text(R"({"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}})"),
      "[tokenizer] t.json: the file has the key 'a' twice in one object");
  EXPECT_EQ(text(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}})"),
            "[tokenizer] t.json: model.merges[0] names a piece that model.vocab lacks");
  EXPECT_EQ(text(R"({"model": {"type": "BPE", "vocab": {"a": -3}, "merges": []}})"),
      "[tokenizer] t.json: model.vocab['a'] must be an id from 0 to 10000000");
  EXPECT_EQ(text(R"({"normalizer": {"type": "Nmt"}, "model": {"type": "BPE", "vocab": {}, "merges": []}})"),
            "[tokenizer] t.json: normalizer.type 'Nmt' is not supported (NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, "
                "Sequence)");
}

// A tokenizer.json of the letters a, b, c and 'ab', with one part replaced.
std::string letters(const std::string& part) {
  std::string json = R"("model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3}, "merges": [["a", "b"]]})";
  return "{" + (part.find("\"model\"") == std::string::npos ? part + (part.empty() ? "" : ", ") + json : part) + "}";
}

TEST(Tokenizer, ErrorsNameThePartAndWhatIsSupported) {
  auto message = [](const std::string& part) { return message_of<FormatError>([&] { Tokenizer::parse(letters(part), "t.json"); }); };
  EXPECT_EQ(message(R"("pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "UnicodeScripts"}]})"),
            "[tokenizer] t.json: pre_tokenizer.pretokenizers[1].type 'UnicodeScripts' is not supported (ByteLevel, Split, Digits, Punctuation, "
                "Whitespace, "
            "WhitespaceSplit, CharDelimiterSplit, Metaspace, Sequence)");
  EXPECT_EQ(message(R"("decoder": {"type": "CTC"})"),
            "[tokenizer] t.json: decoder.type 'CTC' is not supported (ByteLevel, BPEDecoder, Metaspace, ByteFallback, Replace, Strip, Fuse, "
                "Sequence)");
  EXPECT_EQ(message(R"("post_processor": {"type": "X"})"),
      "[tokenizer] t.json: post_processor.type 'X' is not supported (TemplateProcessing, RobertaProcessing, "
                                                           "BertProcessing, ByteLevel, Sequence)");
  EXPECT_EQ(message(R"("post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}], "special_tokens": {}})"),
            "[tokenizer] t.json: post_processor.special_tokens lacks '<s>', which the template names");
  EXPECT_EQ(message(R"("added_tokens": [{"id": 7, "content": "x"}, {"id": 7, "content": "y"}])"),
      "[tokenizer] t.json: added_tokens[1] has the id 7 of an earlier one");
  EXPECT_EQ(message(R"("normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "y"})"),
      "[tokenizer] t.json: normalizer.pattern.String is empty");
  EXPECT_EQ(message(R"("pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"})"),
            "[tokenizer] t.json: pre_tokenizer.pattern is not a pattern. [tokenizer] the pattern '(' is wrong at character 1: missing closing "
                "parenthesis");
  EXPECT_EQ(message(R"("pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[a-z&&[^b]]"}, "behavior": "Isolated"})"),
            "[tokenizer] t.json: pre_tokenizer.pattern is not a pattern. [tokenizer] the pattern '[a-z&&[^b]]' has an intersection of sets (&&) at "
                "character 4, "
            "which is not supported");
  EXPECT_EQ(message(R"("pre_tokenizer": {"type": "Split", "pattern": {"String": "x"}, "behavior": "Kept"})"),
            "[tokenizer] t.json: pre_tokenizer.behavior 'Kept' is not supported (Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous)");
  EXPECT_EQ(message(R"("model": {"type": "BPE", "dropout": 0.1, "vocab": {}, "merges": []})"),
      "[tokenizer] t.json: model.dropout is not supported: ids would be random");
}

std::string sequence(const std::string& of, const std::vector<std::string>& steps) {
  std::string all;
  for (const std::string& step : steps) { all += (all.empty() ? "" : ", ") + step; }
  return R"({"type": "Sequence", ")" + of + R"(": [)" + all + "]}";
}

TEST(Tokenizer, StepsThatMultiplyTextAreStopped) {
  auto encoding = [](const std::string& part) { return message_of<FormatError>([&] { Tokenizer::parse(letters(part), "t").encode("\u00e9"); }); };
  const std::vector<std::string> spell(40, R"({"type": "ByteLevel", "use_regex": false})");  // each doubles a letter that is not ASCII
  const std::string pre = "[tokenizer] the pre-tokenizer's steps make more than 1048704 bytes of one text";
  EXPECT_EQ(encoding(R"("pre_tokenizer": )" + sequence("pretokenizers", spell)), pre);
  std::vector<std::string> prefixes;  // each puts a mark before every word, and makes it a word of its own
  for (char mark = 'A'; mark <= 'Z'; ++mark) {
    prefixes.push_back(R"({"type": "Metaspace", "split": false, "replacement": ")" + std::string(1, mark) + R"("})");
    prefixes.push_back(R"({"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated"})");
  }
  EXPECT_EQ(encoding(R"("pre_tokenizer": )" + sequence("pretokenizers", prefixes)), pre);

  const std::string twice = R"({"type": "Replace", "pattern": {"Regex": "."}, "content": "aa"})";
  EXPECT_EQ(encoding(R"("normalizer": )" + sequence("normalizers", std::vector<std::string>(40, twice))),
            "[tokenizer] the normalizer's replacements make more than 1048704 bytes of one text");
  EXPECT_EQ(encoding(R"("normalizer": {"type": "Replace", "pattern": {"String": "\u00e9"}, "content": ")" + std::string(2 << 20, 'a') + "\"}"),
            "[tokenizer] the replacements of '\u00e9' make more than 1048704 bytes of one text");
  const Tokenizer t = Tokenizer::parse(letters(R"("decoder": )" + sequence("decoders", std::vector<std::string>(40, twice))), "t");
  EXPECT_EQ(message_of<FormatError>([&] { t.decode(std::vector<int32_t>{0}); }),
            "[tokenizer] the decoder's replacements make more than 1048640 bytes of one text");
}

TEST(Tokenizer, OneDamagedIdDoesNotCostTheMemoryOfTenMillion) {
  auto parse = [](const std::string& id) {
    return Tokenizer::parse(letters(R"("model": {"type": "BPE", "merges": [], "vocab": {"a": 0, "b": )" + id + "}}"), "t");
  };
  EXPECT_EQ(parse("65536").vocab_size(), 65537);
  EXPECT_EQ(message_of<FormatError>([&] { parse("65537"); }),
            "[tokenizer] t: model.vocab['b'] has the id 65537, far beyond the 2 pieces of the vocabulary");
}

TEST(Tokenizer, UnknownCharactersAndBytes) {
  EXPECT_EQ(Tokenizer::parse(letters(""), "t").encode("abxc\xff"), (std::vector<int32_t>{3, 2})) << "without an unknown token they are dropped";
  auto model = [](const char* options) {
    return letters(std::string(R"("model": {"type": "BPE", "vocab": {"a": 0, "?": 1, "<0xFF>": 2, "<0xC3>": 3, "<0xA9>": 4}, "merges": [], )") +
                   R"("unk_token": "?", )" + options + "}");
  };
  EXPECT_EQ(Tokenizer::parse(model(R"("fuse_unk": false)"), "t").encode("axya\xff\xff"), (std::vector<int32_t>{0, 1, 1, 0, 1, 1}));
  EXPECT_EQ(Tokenizer::parse(model(R"("fuse_unk": true)"), "t").encode("axya"), (std::vector<int32_t>{0, 1, 0}));
  Tokenizer bytes = Tokenizer::parse(R"({"decoder": {"type": "ByteFallback"}, )" + model(R"("byte_fallback": true)").substr(1), "t");
  EXPECT_EQ(bytes.encode("a\u00e9\xffz"), (std::vector<int32_t>{0, 3, 4, 2, 1}));
  EXPECT_EQ(bytes.decode(bytes.encode("a\u00e9\xff")), "a\u00e9\xff") << "bytes come back as they were, also those that are not UTF-8";
}

TEST(Tokenizer, AddedTokensInNormalizedText) {
  Tokenizer t = Tokenizer::parse(letters(R"("normalizer": {"type": "Lowercase"}, "added_tokens": [{"id": 5, "content": "KEY", "normalized": true},
      {"id": 6, "content": "CC", "normalized": false}, {"id": 7, "content": "CCC", "normalized": false, "special": true}])"), "t");
  EXPECT_EQ(t.encode("AkEyBCCcCCCC"), (std::vector<int32_t>{0, 5, 1, 6, 2, 7, 2}));
  EXPECT_EQ(t.decode(std::vector<int32_t>{0, 7, 6}, true), "a CC") << "only special tokens are skipped; without a decoder pieces stand apart";
  EXPECT_EQ(t.vocab_size(), 8);
  EXPECT_TRUE(t.is_special(7) && !t.is_special(6));
}

TEST(Tokenizer, EndOfTextIsTheSuffixOrAKnownName) {
  EXPECT_NE(message_of<FormatError>([] { Tokenizer::parse(letters(""), "t").eos_id(); }).find("[tokenizer] no end-of-text token"), std::string::npos);
  EXPECT_EQ(Tokenizer::parse(letters(R"("added_tokens": [{"id": 5, "content": "</s>"}, {"id": 6, "content": "<|endoftext|>"}])"), "t").eos_id(), 6);
  EXPECT_EQ(Tokenizer::load(kFixtures + "clip.json").eos_id(), *Tokenizer::load(kFixtures + "clip.json").id_of("<|endoftext|>"));
}

}  // namespace
}  // namespace pumice
