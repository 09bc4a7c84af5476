// Tokenizers in every kind of file and directory: load() finds out what it is, and what save() writes comes back the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pumice/data/loader.h"
#include "pumice/data/tokenizer.h"
#include "pumice/data/tokenizer/sentencepiece.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

using nlohmann::json;
using testing::message_of;
using testing::Temporary;
const std::string kFixtures = std::string(PUMICE_FIXTURES) + "/data/fixtures/tokenizer/";

json read_json(const std::string& path) { return parse_json(read_file(path)); }

void expect_ids(const Tokenizer& t, const std::string& expected, std::vector<std::string> more = {}) {
  std::vector<std::string> texts = read_json(kFixtures + "strings.json");
  texts.insert(texts.end(), more.begin(), more.end());
  const json want = read_json(kFixtures + expected + ".ids.json");
  EXPECT_EQ(t.prefix(), std::vector<int32_t>(want["prefix"])) << expected;
  EXPECT_EQ(t.suffix(), std::vector<int32_t>(want["suffix"])) << expected;
  ASSERT_EQ(want["rows"].size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::vector<int32_t> ids = want["rows"][i]["ids"];
    EXPECT_EQ(t.encode(texts[i]), ids) << expected << " " << i << ": " << texts[i];
    EXPECT_EQ(t.decode(ids), want["rows"][i]["text"].get<std::string>()) << expected << " " << i << ": " << texts[i];
  }
}

void expect_saved_the_same(const Tokenizer& t) {
  Temporary d;
  t.save(d.path());
  Tokenizer again = Tokenizer::load(d.path());
  EXPECT_EQ(again.fingerprint(), t.fingerprint());
  EXPECT_EQ(again.eos_id(), t.eos_id());
  EXPECT_EQ(again.file(), t.file());
  EXPECT_EQ(again.encode("It's  déjà-vu 12\n"), t.encode("It's  déjà-vu 12\n"));
}

// vocab.json and merges.txt of a fixture.
void write_pair(const std::string& family, const std::string& directory, const std::string& before = "") {
  const json model = read_json(kFixtures + family + ".json")["model"];
  std::string merges = "#version: 0.2\n";
  for (const json& m : model["merges"]) { merges += m[0].get<std::string>() + " " + m[1].get<std::string>() + "\n"; }
  write_file_atomic(directory + "/" + before + "vocab.json", model["vocab"].dump());
  write_file_atomic(directory + "/" + before + "merges.txt", merges);
}

// Llama's files have no pre-tokenizer: a text is one word, whose cost must not grow with its square.
TEST(TokenizerFiles, AWholeTextMayBeOneWord) {
  const Tokenizer t = Tokenizer::load(kFixtures + "llama.json");
  std::string text;
  for (int i = 0; text.size() < 1 << 20; ++i) { text += "two red apples " + std::to_string(i * 7919) + (i % 3 ? " and a kite, " : "\n"); }
  EXPECT_EQ(t.decode(t.encode(text)), text);
}

TEST(TokenizerFiles, VocabAndMergesOfGpt2) {
  Temporary d;
  write_pair("gpt2", d.path());
  // <|endoftext|> is not in this vocabulary: an added token, with a flag of its own.
  const int end = int(read_json(d / "vocab.json").size());
  write_file_atomic(d / "tokenizer_config.json", json{{"tokenizer_class", "GPT2Tokenizer"}, {"eos_token", {{"content", "<|endoftext|>"}}},
      {"added_tokens_decoder", {{std::to_string(end), {{"content", "<|endoftext|>"}, {"normalized", true}, {"special", true}}}}}}.dump());
  Tokenizer t = Tokenizer::load(d.path());
  expect_ids(t, "gpt2");
  EXPECT_EQ(t.eos_id(), end);
  EXPECT_TRUE(t.is_special(end));
  EXPECT_EQ(Tokenizer::load(d / "vocab.json").fingerprint(), t.fingerprint());
  EXPECT_EQ(Tokenizer::load(d / "merges.txt").fingerprint(), t.fingerprint());
  expect_saved_the_same(t);
}

TEST(TokenizerFiles, VocabAndMergesOfQwen2AndClip) {
  Temporary d;
  write_pair("qwen", d.path());
  const json qwen = read_json(kFixtures + "qwen.json");
  json added;
  for (const json& token : qwen["added_tokens"]) { added[token["content"].get<std::string>()] = token["id"]; }
  write_file_atomic(d / "added_tokens.json", added.dump());
  write_file_atomic(d / "tokenizer_config.json",
      R"({"tokenizer_class": "Qwen2TokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})");
  Tokenizer t = Tokenizer::load(d.path());
  expect_ids(t, "qwen");
  EXPECT_EQ(t.eos_id(), *t.id_of("<|im_end|>"));
  expect_saved_the_same(t);

  Temporary clip;
  write_pair("clip", clip.path(), "clip-");
  expect_ids(Tokenizer::load(clip / "clip-vocab.json"), "clip");
}

TEST(TokenizerFiles, OpenAiClipAndTiktoken) {
  Tokenizer clip = Tokenizer::load(kFixtures + "small-clip.txt.gz");
  expect_ids(clip, "small-clip", {"Tom &amp; Jerry &lt;3", "&amp;amp; &#39;x&#39; &quot;q&quot;"});
  EXPECT_EQ(clip.eos_id(), clip.vocab_size() - 1);
  expect_saved_the_same(clip);
  std::vector<int32_t> cut = encode_caption(clip, "two red apples and a kite", 5);
  EXPECT_EQ(cut.size(), 5u);
  EXPECT_EQ(cut.front(), *clip.id_of("<|startoftext|>")) << "CLIP's captions begin with a token, too";
  EXPECT_EQ(cut.back(), clip.eos_id());

  Tokenizer qwen = Tokenizer::load(kFixtures + "small-qwen.tiktoken");
  expect_ids(qwen, "small-qwen");
  EXPECT_EQ(qwen.eos_id(), *qwen.id_of("<|endoftext|>"));
  EXPECT_EQ(*qwen.id_of("<|extra_204|>"), qwen.vocab_size() - 1);
  expect_saved_the_same(qwen);
  Temporary d;
  std::filesystem::copy_file(kFixtures + "small-qwen.tiktoken", d / "arcade100k.tiktoken");
  EXPECT_EQ(*Tokenizer::load(d.path()).id_of("<|reg0|>"), 100280);
}

TEST(TokenizerFiles, ErrorsNameFileAndLine) {
  Temporary d;
  auto message = [&](const std::string& name, const std::string& content) {
    write_file_atomic(d / name, content);
    std::string m = message_of<FormatError>([&] { Tokenizer::load(d / name); });
    std::filesystem::remove(d / name);
    const size_t at = m.find(d.path());
    return at == std::string::npos ? m : m.erase(at, d.path().size() + 1);
  };
  write_file_atomic(d / "vocab.json", R"({"a": 0, "b": 1, "ab": 2})");
  EXPECT_EQ(message("merges.txt", "#version\na b c\n"), "[tokenizer] merges.txt: line 2 must be two pieces with a space between them");
  EXPECT_EQ(message("merges.txt", "a b\nab b\n"), "[tokenizer] merges.txt: line 2 needs the piece 'abb', which the vocabulary lacks");
  EXPECT_NE(message_of<IoError>([&] { Tokenizer::load(d / "vocab.json"); }).find("merges.txt is missing"), std::string::npos);
  write_file_atomic(d / "vocab.json", R"({"a": -1})");
  EXPECT_EQ(message("merges.txt", ""), "[tokenizer] vocab.json: vocab['a'] must be an id from 0 to 10000000");
  EXPECT_EQ(message("tokenizer.txt", "hello"),
      "[tokenizer] tokenizer.txt is no tokenizer: a tokenizer.json, vocab.json with merges.txt, gzip-packed CLIP vocabulary, .tiktoken "
                                               "or SentencePiece .model is wanted");
  const std::string whole = read_file(kFixtures + "small-qwen.tiktoken");
  const auto lines = std::to_string(std::count(whole.begin(), whole.end(), '\n') + 1);
  EXPECT_EQ(message("qwen.tiktoken", whole + "YQ== 5000\n"), "[tokenizer] qwen.tiktoken: line " + lines + " holds a piece that another line has");
  EXPECT_EQ(message("qwen.tiktoken", whole + "YWFhYWFhYWE= 9\n"), "[tokenizer] qwen.tiktoken: the lines 10 and " + lines + " both have the rank 9");
  EXPECT_EQ(message("qwen.tiktoken", whole + "YWFhYWFhYWE= 999999\n"), "[tokenizer] qwen.tiktoken: the piece of line " + lines +
            " has the id 999999, far beyond the " + lines + " pieces of the vocabulary");
  EXPECT_EQ(message("qwen.tiktoken", "YQ=\n"), "[tokenizer] qwen.tiktoken: line 1 must be the base64 of at most 1024 bytes, a space and a rank");
  EXPECT_EQ(message("qwen.tiktoken", "YQ== 0\n"), "[tokenizer] qwen.tiktoken: no line holds the byte 0; a vocabulary needs all 256");
  EXPECT_EQ(message("notes.gz", read_file(std::string(PUMICE_FIXTURES) + "/fuzz/corpus/gzip/hello.gz")),
            "[tokenizer] notes.gz: no merge follows the first line. Is it OpenAI's bpe_simple_vocab_16e6.txt.gz?");
  for (const char* name : {"tokenizer.model", "tokenizer.json"}) {
    EXPECT_EQ(message(name, "version https://git-lfs.github.com/spec/v1\noid"), std::string("[tokenizer] ") + name + " is a git-lfs pointer, not "
              "the file itself: run git lfs pull; a tokenizer.json, vocab.json with merges.txt, gzip-packed CLIP vocabulary, .tiktoken or "
              "SentencePiece .model is wanted");
  }
  EXPECT_NE(message("other.tiktoken", "YQ== 0\n").find("known for files whose names hold qwen, arcade100k, cl100k or r50k"), std::string::npos);
  Temporary empty;
  EXPECT_NE(message_of<IoError>([&] { Tokenizer::load(empty.path()); }).find("holds no tokenizer: none of tokenizer.json, tokenizer.model"),
      std::string::npos);
  std::filesystem::copy_file(kFixtures + "gpt2.json", empty / "tokenizer.json");
  write_file_atomic(empty / "tokenizer_config.json", R"({"eos_token": "<stop>"})");
  EXPECT_NE(message_of<FormatError>([&] { Tokenizer::load(empty.path()); }).find("tokenizer_config.json: eos_token '<stop>' is not in the "
      "vocabulary"), std::string::npos);
}

// GoogleTest runs suites of this name before all others: once a test has loaded the plug-in, it stays.
TEST(TokenizerFilesDeathTest, SentencePieceWithoutThePlugin) {
  setenv("PUMICE_SENTENCEPIECE", "/nowhere/libpumice_sentencepiece.so", 1);
  std::string m = message_of<UsageError>([] { Tokenizer::load(kFixtures + "bpe.model"); });
  unsetenv("PUMICE_SENTENCEPIECE");
  EXPECT_NE(m.find("[tokenizer] SentencePiece models need the plug-in libpumice_sentencepiece.so, which could not be loaded:\n  /nowhere/"),
      std::string::npos) << m;
  EXPECT_NE(m.find("PUMICE_SENTENCEPIECE=FILE says where it is"), std::string::npos);
}

#ifdef PUMICE_PLUGIN
TEST(TokenizerFiles, SentencePieceModels) {
  setenv("PUMICE_SENTENCEPIECE", PUMICE_PLUGIN, 1);
  for (const char* kind : {"bpe", "unigram"}) {
    Tokenizer t = Tokenizer::load(kFixtures + kind + ".model");
    expect_ids(t, std::string("sentencepiece-") + kind);
    EXPECT_EQ(t.eos_id(), 2);
    EXPECT_EQ(t.kind(), "SentencePiece");
    EXPECT_EQ(t.file_name(), "tokenizer.model");
    EXPECT_TRUE(t.is_special(2) && !t.is_special(300));
    EXPECT_EQ(t.decode(std::vector<int32_t>{-5, 1 << 30}), "");
    EXPECT_EQ(t.decode(t.encode("a\xff z")), "a\uFFFD z") << "bytes that are not UTF-8 become U+FFFD";
    expect_saved_the_same(t);
  }
  EXPECT_NE(message_of<FormatError>([] { load_sentencepiece("no model", "x.model"); }).find("[tokenizer] x.model is no SentencePiece model: "),
      std::string::npos);
  Temporary d;
  write_file_atomic(d / "t.model", train_sentencepiece({"two red apples", "two green kites", "a red fox and a green fox"}, SentencePieceKind::bpe,
      290));
  Tokenizer learned = Tokenizer::load(d / "t.model");
  EXPECT_EQ(learned.vocab_size(), 290);
  EXPECT_EQ(learned.decode(learned.encode("red fox 🦊")), "red fox 🦊");
  const std::string large = message_of<UsageError>([] { train_sentencepiece({"ab"}, SentencePieceKind::unigram, 5000); });
  EXPECT_NE(large.find("could not learn 5000 pieces from 1 texts: Vocabulary size too high"), std::string::npos) << large;
  unsetenv("PUMICE_SENTENCEPIECE");
}

// As OpenChat's: a model, and tokens that added_tokens.json puts behind it.
TEST(TokenizerFiles, SentencePieceWithAddedTokens) {
  setenv("PUMICE_SENTENCEPIECE", PUMICE_PLUGIN, 1);
  Temporary d;
  std::filesystem::copy_file(kFixtures + "bpe.model", d / "tokenizer.model");
  const Tokenizer model = Tokenizer::load(d.path());
  const int32_t end = model.vocab_size(), tool = end + 1, control = 2;
  write_file_atomic(d / "added_tokens.json", json{{"<|end_of_turn|>", end}, {"<tool>", tool}}.dump());
  write_file_atomic(d / "special_tokens_map.json", R"({"additional_special_tokens": ["<|end_of_turn|>"]})");
  write_file_atomic(d / "tokenizer_config.json", R"({"eos_token": "<|end_of_turn|>"})");
  Tokenizer t = Tokenizer::load(d.path());
  EXPECT_EQ(t.vocab_size(), end + 2);
  EXPECT_EQ(t.eos_id(), end);
  EXPECT_EQ(t.piece(tool), "<tool>");
  EXPECT_TRUE(t.is_special(end) && t.is_special(control) && !t.is_special(tool));
  EXPECT_NE(t.fingerprint(), model.fingerprint());

  std::vector<int32_t> want = model.encode("two red");
  want.push_back(end);
  for (int32_t id : model.encode("apples ")) { want.push_back(id); }
  want.push_back(tool);
  EXPECT_EQ(t.encode("two red<|end_of_turn|>apples <tool>"), want);
  EXPECT_EQ(t.decode(want), "two red<|end_of_turn|>apples <tool>");
  EXPECT_EQ(t.decode(want, true), "two redapples <tool>");
  want = model.encode("\xff");
  want.push_back(tool);
  for (int32_t id : model.encode("\xff")) { want.push_back(id); }
  EXPECT_EQ(t.encode("\xff<tool>\xff"), want) << "bytes that are not UTF-8 beside a token";
  expect_saved_the_same(t);
  Temporary saved;
  t.save(saved.path());
  EXPECT_EQ(Tokenizer::load(saved.path()).encode("a<tool>b"), t.encode("a<tool>b"));
  EXPECT_TRUE(Tokenizer::load(saved.path()).is_special(end));

  // What Transformers 4.46's LlamaTokenizer makes of it with "legacy": false, its space before a text that begins with a token left out.
  write_file_atomic(d / "tokenizer_config.json", R"({"legacy": false})");
  const Tokenizer bare = Tokenizer::load(d.path());
  EXPECT_NE(bare.fingerprint(), t.fingerprint());
  const json rows = read_json(kFixtures + "sentencepiece-bare.ids.json")["rows"];
  for (const json& row : rows) {
    EXPECT_EQ(bare.encode(row["text"].get<std::string>()), std::vector<int32_t>(row["ids"])) << row["text"];
  }
  EXPECT_NE(bare.encode("two red<tool>apples"), t.encode("two red<tool>apples"));
  EXPECT_EQ(bare.decode(bare.encode("two red<tool>apples")), "two red<tool>apples");
  expect_saved_the_same(bare);

  write_file_atomic(d / "added_tokens.json", R"({"<s>": 0})");
  const std::string m = message_of<FormatError>([&] { Tokenizer::load(d.path()); });
  EXPECT_NE(m.find("tokenizer.model: the files beside it give the id 0 to '<s>', the model to '<unk>'"), std::string::npos) << m;
  unsetenv("PUMICE_SENTENCEPIECE");
}
#endif

}  // namespace
}  // namespace pumice
