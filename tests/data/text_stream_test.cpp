#include "pumice/data/text_stream.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;
const std::string kFixtures = std::string(PUMICE_FIXTURES) + "/data/fixtures/tokenizer/";

TEST(StopStrings, HoldBackWhatMayBeOne) {
  StopStrings s({"\nUSER:", "</s>"});
  EXPECT_EQ(s.push("a kite\nUS"), "a kite");
  EXPECT_EQ(s.push("A <"), "\nUSA ") << "it was none; the < may be";
  EXPECT_EQ(s.push("/s"), "");
  EXPECT_EQ(s.found(), "");
  EXPECT_EQ(s.push("> more"), "");
  EXPECT_EQ(s.found(), "</s>");
  EXPECT_EQ(s.push("and more"), "");
  EXPECT_EQ(s.finish(), "");
  StopStrings open({"###"});
  EXPECT_EQ(open.push("x##"), "x");
  EXPECT_EQ(open.finish(), "##");
  EXPECT_EQ(StopStrings({}).push("all of it"), "all of it");
  EXPECT_EQ(message_of<UsageError>([] { StopStrings({"a", ""}); }), "[stop] a stop string is empty; it would end every text at once");
}

TEST(StopStrings, TheCutIntoPushesDoesNotMatter) {
  struct Case { std::vector<std::string> stops; std::string text, shown, found; };
  const Case cases[] = {{{"aab"}, "aaaab!", "aa", "aab"},          {{"abc", "b"}, "xabc", "xa", "b"},  {{"bc", "abc"}, "xabc", "x", "abc"},
                        {{"abab", "bb"}, "ababab", "", "abab"},    {{"abcd", "bx"}, "abcbx", "abc", "bx"}, {{"abc"}, "ababab", "ababab", ""},
                        {{"\nUSER:"}, "\n\nUSER: q", "\n", "\nUSER:"}};
  for (const Case& c : cases) {
    for (unsigned cut = 0; cut < 1u << (c.text.size() - 1); ++cut) {  // bit i: a push ends after byte i
      StopStrings s(c.stops);
      std::string shown, piece;
      for (size_t i = 0; i < c.text.size(); ++i) {
        piece += c.text[i];
        if (cut >> i & 1 || i + 1 == c.text.size()) { shown += s.push(std::exchange(piece, "")); }
      }
      EXPECT_EQ(shown + s.finish(), c.shown) << c.text << " cut as " << cut;
      EXPECT_EQ(s.found(), c.found) << c.text << " cut as " << cut;
    }
  }
}

TEST(Utf8Stream, NeverHalfACharacter) {
  const std::string text = "a\u00e9\u20ac\U0001f98a";
  for (size_t step = 1; step <= 5; ++step) {
    Utf8Stream s;
    std::string out;
    for (size_t i = 0; i < text.size(); i += step) {
      out += s.push(text.substr(i, step));
      EXPECT_EQ(text.compare(0, out.size(), out), 0);
      EXPECT_TRUE(out.size() == 0 || out.size() == 1 || out.size() == 3 || out.size() == 6 || out.size() == 10) << out.size();
    }
    EXPECT_EQ(out + s.finish(), text);
  }
}

TEST(Utf8Stream, ReplacesWhatIsNoCharacter) {  // the texts of bytes.decode("utf-8", "replace")
  const std::string r = "\ufffd";
  const std::pair<std::string, std::string> cases[] = {
      {"a\xff z", "a" + r + " z"}, {"\xe2\x82x", r + "x"}, {"\xc0\x80", r + r}, {"\xed\xa0\x80", r + r + r}, {"\xf4\x90\x80\x80", r + r + r + r},
      {"\xf0\x9f\xa6", r}, {"\xe0\x80", r + r}, {"\x80", r}, {"\xf0\x9f\xa6\xe2\x82\xac", r + "\u20ac"}};
  for (const auto& [bytes, want] : cases) {
    Utf8Stream whole, single;
    std::string text = whole.push(bytes);
    text += whole.finish();
    EXPECT_EQ(text, want);
    text = "";
    for (char byte : bytes) { text += single.push(std::string(1, byte)); }
    EXPECT_EQ(text + single.finish(), want) << "byte by byte";
  }
}

void expect_streamed(const Tokenizer& t, const std::string& text) {
  TextStream stream(t, {});
  std::string shown;
  const std::vector<int32_t> ids = t.encode(text);
  for (int32_t id : ids) {
    shown += stream.push(id);
    Utf8Stream check;
    EXPECT_EQ(check.push(shown) + check.finish(), shown) << "half a character was shown";
  }
  shown += stream.finish();
  EXPECT_EQ(shown, t.decode(ids, true)) << text;
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, ShowsWhatDecodingTheWholeGives) {
  for (const char* name : {"phi", "qwen", "llama", "mistral", "clip", "words"}) {
    const Tokenizer t = Tokenizer::load(kFixtures + name + ".json");
    for (const char* text : {"two red apples", "  spaces   and\ttabs\n", "caf\u00e9 \U0001f98a\u20ac!", "\U0001fa81"}) { expect_streamed(t, text); }
  }
}

TEST(TextStream, SentencePieceBytes) {
#ifndef PUMICE_PLUGIN
  GTEST_SKIP() << "built without the SentencePiece plug-in";
#else
  setenv("PUMICE_SENTENCEPIECE", PUMICE_PLUGIN, 1);
  const Tokenizer t = Tokenizer::load(kFixtures + "bpe.model");
  for (const char* text : {"two red apples", "a \U0001f98a b", "\u4e16\u754c"}) { expect_streamed(t, text); }
#endif
}

// What a stream shows after each token when it decodes all of them each time.
std::vector<std::string> shown_of_whole(const Tokenizer& t, const std::vector<int32_t>& ids) {
  std::vector<std::string> shown;
  for (size_t n = 1; n <= ids.size(); ++n) {
    std::string text = t.decode(std::span(ids).first(n), true);
    for (int i = 0; i < 3 && text.ends_with("\ufffd"); ++i) { text.resize(text.size() - 3); }
    Utf8Stream valid;
    text = valid.push(text);
    shown.push_back(shown.empty() || text.size() > shown.back().size() ? text : shown.back());
  }
  return shown;
}

// Any ids that a model may draw: special ones, halves of characters, spaces alone.
void expect_random_ids_streamed(const Tokenizer& t, const std::string& name) {
  uint32_t seed = 7;
  const auto draw = [&](size_t n) { return int32_t(((seed = seed * 1664525 + 1013904223) >> 8) % n); };
  std::vector<int32_t> few;  // runs of bytes, and what is no text
  for (int32_t id = 0; id < t.vocab_size(); ++id) {
    if (t.is_special(id) || t.piece(id).starts_with("<0x") || t.piece(id) == "\u2581" || t.decode(std::span(&id, 1)).size() == 1) { few.push_back(id); }
  }
  const std::vector<int32_t> words = t.encode(" caf\u00e9 \U0001f98a, two  red\u20ac apples </w> \ufffd");
  int64_t cuts = 0;
  for (int round = 0; round < 60; ++round) {
    std::vector<int32_t> ids;
    for (int n = 0; n < 40; ++n) {
      const int32_t kind = draw(4);
      const std::vector<int32_t>& from = kind == 1 && !few.empty() ? few : words;
      ids.push_back(kind == 0 ? draw(size_t(t.vocab_size())) : from[size_t(draw(from.size()))]);
      cuts += t.cuts_after(ids.back());
    }
    if (round % 3 == 0) { ids.insert(ids.begin() + 10, words.begin(), words.end()); }
    const std::vector<std::string> wanted = shown_of_whole(t, ids);
    Utf8Stream valid;
    std::string whole = valid.push(t.decode(ids, true));
    whole += valid.finish();
    TextStream stream(t, {});
    std::string shown;
    for (size_t n = 0; n < ids.size(); ++n) {
      shown += stream.push(ids[n]);
      ASSERT_TRUE(shown.starts_with(wanted[n]) && whole.starts_with(shown))
          << name << ", round " << round << ", token " << n << ": " << t.piece(ids[n]) << "\nshown  " << shown << "\nwanted " << wanted[n] << "\nof     "
          << whole;
    }
    ASSERT_EQ(shown + stream.finish(), whole) << name << ", round " << round;
  }
  EXPECT_GT(cuts, 100) << name << ": the text is never cut, so every token decodes all of it";
}

TEST(TextStream, AnyIdsShowWhatDecodingTheWholeGives) {
  for (const char* name : {"clip", "digits", "gpt2", "llama", "llama3", "mistral", "neox", "phi", "qwen", "stablelm", "words"}) {
    expect_random_ids_streamed(Tokenizer::load(kFixtures + name + ".json"), name);
  }
  expect_random_ids_streamed(Tokenizer::load(kFixtures + "small-clip.txt.gz"), "small-clip");
  expect_random_ids_streamed(Tokenizer::load(kFixtures + "small-qwen.tiktoken"), "small-qwen");
#ifdef PUMICE_PLUGIN
  setenv("PUMICE_SENTENCEPIECE", PUMICE_PLUGIN, 1);
  for (const char* name : {"bpe.model", "unigram.model"}) { expect_random_ids_streamed(Tokenizer::load(kFixtures + name), name); }
#endif
}

// A step that reads the joined text may change any of it later: there the whole is decoded, and nothing is cut.
TEST(TextStream, DecodersOfTheWholeTextAreNotCut) {
  const auto with = [](const char* decoder) {
    nlohmann::json j = parse_json(read_file(kFixtures + "llama.json"));
    j["decoder"] = parse_json(decoder);
    return Tokenizer::parse(j.dump(), "tokenizer.json");
  };
  const int32_t id = Tokenizer::load(kFixtures + "llama.json").encode("a")[0];
  const Tokenizer whole =
      with(R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Replace", "pattern": {"String": "e\u2581"}, "content": "-"}]})");
  EXPECT_FALSE(whole.cuts_after(id));
  const Tokenizer pieces =
      with(R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "e\u2581"}, "content": "-"}, {"type": "Fuse"},
                                    {"type": "Strip", "content": "\u2581", "start": 2, "stop": 1}]})");
  EXPECT_TRUE(pieces.cuts_after(id));
  expect_random_ids_streamed(pieces, "strips");
  expect_random_ids_streamed(with(R"({"type": "Metaspace"})"), "metaspace");
  expect_random_ids_streamed(with("null"), "joined by spaces");
}

TEST(TextStream, StopsInsideATokenAndSkipsSpecialOnes) {
  const Tokenizer t = Tokenizer::load(kFixtures + "phi.json");
  TextStream stream(t, {"apples"});
  std::string shown;
  for (int32_t id : t.encode("two<|endoftext|> red apples and more")) { shown += stream.push(id); }
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(shown + stream.finish(), "two red ");
}

}  // namespace
}  // namespace pumice
