// Texts to train on: which documents files hold, what is left out, and the windows that they are cut into.
#include "pumice/data/documents.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <set>

#include "../message_of.h"
#include "../temporary.h"
#include "pumice/data/order.h"
#include "pumice/data/token_windows.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;

std::string gzip(const std::string& text) {
  z_stream z{};
  deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 100, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = uInt(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = uInt(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

TEST(Documents, OfEveryKindOfSource) {
  Temporary d;
  std::filesystem::create_directory(d / "folder");
  write_file_atomic(d / "folder/b.txt", "one\n\ntwo\n");
  write_file_atomic(d / "folder/a.jsonl", "{\"text\": \"first\", \"id\": 1}\n\n{\"text\": \"second\"}\r\n");
  write_file_atomic(d / "folder/notes.md", "not read");
  write_file_atomic(d / "tiny.txt", "Once.\n<|endoftext|>\nTwice.\n<|endoftext|>\n");
  write_file_atomic(d / "more.jsonl.gz", gzip("{\"body\": \"packed\"}"));
  EXPECT_EQ(read_documents(d / "folder").texts, (std::vector<std::string>{"first", "second", "one\n\ntwo\n"}));
  EXPECT_EQ(read_documents((d / "tiny.txt") + "::" + (d / "folder/b.txt")).texts, (std::vector<std::string>{"Once.\n", "\nTwice.\n", "one\n\ntwo\n"}));
  EXPECT_EQ(read_documents(d / "more.jsonl.gz", "body").texts, std::vector<std::string>{"packed"});
  EXPECT_NE(read_documents(d / "tiny.txt").fingerprint, read_documents(d / "folder").fingerprint);
}

TEST(Documents, WhatIsLeftOutIsNamed) {
  Documents d;
  parse_documents("{\"text\": \"good\"}\n{\"text\": \" \"}\n{\"txt\": \"x\"}\n[1]\n{\"text\": 5}\n{\"text\": \"a\n{\"text\": \"\\u00e9\"}\n", "x.jsonl", "text", d);
  EXPECT_EQ(d.texts, (std::vector<std::string>{"good", "\xc3\xa9"}));
  EXPECT_EQ(d.given, 7);
  const std::vector<std::string>& p = d.problems.first();
  ASSERT_EQ(p.size(), 5u);
  EXPECT_EQ(p[0], "x.jsonl line 2 is blank");
  EXPECT_EQ(p[1], "x.jsonl line 3 has no \"text\" but txt; name the key with --text-key");
  EXPECT_EQ(p[2], "x.jsonl line 4 must be an object such as {\"text\": \"...\"}");
  EXPECT_EQ(p[3], "x.jsonl line 5 has a \"text\" that is no text");
  EXPECT_EQ(p[4].find("x.jsonl line 6 is not valid JSON"), 0u) << p[4];
  Documents odd;
  parse_documents("caf\xe9<|endoftext|><|endoftext|>fine", "x.txt", "text", odd);
  EXPECT_EQ(odd.texts, std::vector<std::string>{"fine"});
  EXPECT_EQ(odd.problems.first()[0], "x.txt: document 1 is not UTF-8 (byte 3 is 0xe9); save it as UTF-8");
  EXPECT_EQ(odd.problems.first()[1], "x.txt: document 2 is blank");
}

TEST(Documents, NoTextIsAnError) {
  Temporary d;
  write_file_atomic(d / "blank.txt", " \n");
  EXPECT_EQ(message_of<FormatError>([&] { read_documents(d / "blank.txt"); }),
            "[data] " + (d / "blank.txt") + " holds no text to train on among 1 documents. The first problem: " + (d / "blank.txt") + " is blank");
  EXPECT_NE(message_of<IoError>([&] { read_documents(d / "none.txt"); }).find("none.txt"), std::string::npos);
  write_file_atomic(d / "x.doc", "what");
  const std::string unknown = message_of<UsageError>([&] { read_documents(d / "x.doc"); });
  EXPECT_NE(unknown.find("Text is read from files that end in .txt or .jsonl"), std::string::npos) << unknown;
}

class Windows : public ::testing::Test {
 protected:
  Tokenizer tokenizer_ = Tokenizer::train({"abcdefghij"}, {.vocab_size = 257});  // bytes and end-of-text
  std::vector<std::string> texts_ = {"abcd", "efghijklmno", "pq"};                // 5 + 12 + 3 tokens
};

TEST_F(Windows, AreCutAtDocuments) {
  TokenWindows w(texts_, tokenizer_, {.length = 6, .shuffle = false});
  EXPECT_EQ(w.tokens(), 20);
  EXPECT_EQ(w.windows(), 3);
  const TokenBatch b = w.batch(0, 3);
  EXPECT_EQ(b.sequences.to_vector<int32_t>(), (std::vector<int32_t>{0, 5, 6, 12, 17, 18}));
  EXPECT_EQ(b.windows, (std::vector<int64_t>{0, 2, 3, 5}));
  EXPECT_EQ(tokenizer_.decode(b.ids.to_vector<int32_t>(), true), "abcdefghijklmnop");
  EXPECT_EQ(b.position, 3);
  EXPECT_EQ(b.epoch, 1);
}

TEST_F(Windows, AnEpochSeesEveryTokenAtMostOnceInItsOwnOrder) {
  TokenWindows w(texts_, tokenizer_, {.length = 6, .seed = 3});
  std::set<std::vector<int32_t>> orders;
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    const std::vector<int32_t> ids = w.batch(epoch * 3, 3).ids.to_vector<int32_t>();
    orders.insert(ids);
    for (char c = 'a'; c <= 'q'; ++c) { EXPECT_LE(std::count(ids.begin(), ids.end(), tokenizer_.encode(std::string(1, c))[0]), 1) << c; }
  }
  EXPECT_EQ(orders.size(), 5u);
}

TEST_F(Windows, DependOnThePositionAlone) {
  TokenWindows one(texts_, tokenizer_, {.length = 4, .seed = 7}), other(texts_, tokenizer_, {.length = 4, .seed = 7});
  one.batch(0, 9);
  const TokenBatch a = one.batch(9, 4), b = other.batch(9, 4);
  EXPECT_EQ(a.ids.to_vector<int32_t>(), b.ids.to_vector<int32_t>());
  EXPECT_EQ(a.sequences.to_vector<int32_t>(), b.sequences.to_vector<int32_t>());
}

TEST_F(Windows, OfALittleTextAndOfTheFirstOnes) {
  TokenWindows all(texts_, tokenizer_, {.length = 1000});
  EXPECT_EQ(all.length(), 20);
  EXPECT_EQ(all.windows(), 1);
  EXPECT_EQ(all.batch(0, 2).ids.size(), 40);
  TokenWindows first(texts_, tokenizer_, {.length = 4, .shuffle = false, .limit = 1});
  EXPECT_EQ(first.batch(0, 1).ids.to_vector<int32_t>(), first.batch(5, 1).ids.to_vector<int32_t>());
  EXPECT_NE(message_of<UsageError>([&] { TokenWindows(texts_, tokenizer_, {.length = 1}); }).find("at least 2 tokens"), std::string::npos);
}

TEST(Order, IsAPermutationOfTheSeedAndTheEpoch) {
  std::vector<int64_t> a = permutation(100, 1, 0);
  EXPECT_EQ(a, permutation(100, 1, 0));
  EXPECT_NE(a, permutation(100, 1, 1));
  EXPECT_NE(a, permutation(100, 2, 0));
  std::sort(a.begin(), a.end());
  std::vector<int64_t> sorted(100);
  std::iota(sorted.begin(), sorted.end(), 0);
  EXPECT_EQ(a, sorted);
  EXPECT_TRUE(permutation(0, 1, 0).empty());
  for (int64_t epoch = 0; epoch < 50; ++epoch) { EXPECT_LT(draw_below(3, 5, epoch), 3); }
}

}  // namespace
}  // namespace pumice
