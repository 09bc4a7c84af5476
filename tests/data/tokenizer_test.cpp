#include "pumice/data/tokenizer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "pumice/tensor/file.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;
const std::string kFixtures = std::string(PUMICE_FIXTURES) + "/data/fixtures/tokenizer/";

TEST(Tokenizer, IdsOfHuggingFaceTokenizers) {
  for (const char* name : {"gpt2", "lower", "qwen"}) {
    Tokenizer t = Tokenizer::load(kFixtures + name + ".json");
    Tokenizer again = Tokenizer::parse(t.to_json(), "written");
    for (const auto& row : nlohmann::json::parse(read_file(kFixtures + name + ".ids.json"))) {
      std::vector<int32_t> want = row["ids"];
      EXPECT_EQ(t.encode(row["text"].get<std::string>()), want) << name << ": " << row["text"];
      EXPECT_EQ(again.encode(row["text"].get<std::string>()), want) << name << " written and read: " << row["text"];
    }
    EXPECT_EQ(t.vocab_size(), 320);
    EXPECT_EQ(t.fingerprint(), again.fingerprint());
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
  EXPECT_EQ(t.to_json(), same.to_json());
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
  EXPECT_EQ(text(R"({"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}})"), "[tokenizer] t.json: the file has the key 'a' twice in one object");
  EXPECT_EQ(text(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}})"),
            "[tokenizer] t.json: model.merges[0] names a piece that model.vocab lacks");
  EXPECT_EQ(text(R"({"model": {"type": "BPE", "vocab": {"a": -3}, "merges": []}})"), "[tokenizer] t.json: model.vocab['a'] must be an id from 0 to 10000000");
  EXPECT_EQ(text(R"({"normalizer": {"type": "NFKC"}, "model": {"type": "BPE", "vocab": {}, "merges": []}})"),
            "[tokenizer] t.json: normalizer.type 'NFKC' is not supported (NFC, Lowercase, Sequence)");
}

}  // namespace
}  // namespace pumice
