#include "pumice/data/text_stream.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "pumice/tensor/file.h"
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
