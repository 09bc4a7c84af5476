#include "pumice/data/loader.h"

#include <gtest/gtest.h>

#include <set>

#include "pumice/data/image.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

// Sample i is a picture of grey level i with the caption "number i"; chosen ones are broken.
class Numbers : public PairSource {
 public:
  explicit Numbers(int64_t n, std::set<int64_t> broken = {}) : broken_(std::move(broken)) {
    for (int64_t i = 0; i < n; ++i) {
      pictures_.push_back(encode_png({8, 8, std::vector<uint8_t>(8 * 8 * 3, uint8_t(i))}));
      if (broken_.count(i)) { pictures_.back().resize(40); }
    }
  }
  int64_t size() const override { return int64_t(pictures_.size()); }
  std::string image(int64_t i) const override { return pictures_[size_t(i)]; }
  std::string caption(int64_t i) const override { return "number " + std::to_string(i); }
  std::string name(int64_t i) const override { return "shard.tar: " + std::to_string(i); }
  std::string fingerprint() const override { return "numbers"; }
  std::string report() const override { return ""; }

 private:
  std::set<int64_t> broken_;
  std::vector<std::string> pictures_;
};

const Tokenizer& tokenizer() {
  static Tokenizer t = [] {
    TokenizerTraining options;
    options.vocab_size = 300;
    return Tokenizer::train({"number 0", "number 1", "number 22"}, options);
  }();
  return t;
}

LoaderOptions options(int64_t batch, int64_t prefetch = 2) {
  return {.batch_size = batch, .image_size = 8, .text_length = 16, .seed = 7, .prefetch = prefetch};
}

std::vector<int> take(Loader& loader, int batches) {  // the grey levels, in order
  std::vector<int> seen;
  for (int b = 0; b < batches; ++b) {
    Batch batch = loader.next();
    for (int64_t i = 0; i < batch.pixels.dim(0); ++i) { seen.push_back(batch.pixels.data<uint8_t>()[i * 8 * 8 * 3]); }
  }
  return seen;
}

TEST(Loader, EveryEpochIsAPermutationOfItsOwn) {
  Numbers source(12);
  Loader loader(source, tokenizer(), options(4));
  std::vector<int> seen = take(loader, 6);
  std::vector<int> first(seen.begin(), seen.begin() + 12), second(seen.begin() + 12, seen.end());
  EXPECT_NE(first, second);
  for (auto* epoch : {&first, &second}) {
    std::sort(epoch->begin(), epoch->end());
    for (int i = 0; i < 12; ++i) { EXPECT_EQ((*epoch)[size_t(i)], i); }
  }
}

TEST(Loader, PicturesCaptionsAndOffsetsBelongTogether) {
  Numbers source(30);
  Loader loader(source, tokenizer(), options(5));
  for (int b = 0; b < 12; ++b) {
    Batch batch = loader.next();
    EXPECT_EQ(batch.position, 5 * (b + 1));
    EXPECT_DOUBLE_EQ(batch.epoch, double(batch.position) / 30);
    const int32_t* o = batch.text_offsets.data<int32_t>();
    for (int i = 0; i < 5; ++i) {
      std::string caption = "number " + std::to_string(batch.pixels.data<uint8_t>()[i * 8 * 8 * 3]);
      EXPECT_EQ(batch.captions[size_t(i)], caption);
      EXPECT_EQ(batch.caption_ids.data<int64_t>()[i], caption_id(caption));
      std::vector<int32_t> ids(batch.tokens.data<int32_t>() + o[i], batch.tokens.data<int32_t>() + o[i + 1]);
      EXPECT_EQ(ids, encode_caption(tokenizer(), caption, 16));
      EXPECT_EQ(ids.back(), tokenizer().eos_id());
    }
  }
}

TEST(Loader, AnyPositionContinuesTheSameStream) {
  Numbers source(14, {3});
  for (int64_t prefetch : {0, 3}) {
    Loader whole(source, tokenizer(), options(4, prefetch));
    std::vector<int> all = take(whole, 10);
    int64_t position = 0;
    std::vector<int> pieces;
    for (int piece = 0; piece < 10; ++piece) {
      LoaderOptions o = options(4, prefetch);
      o.position = position;
      Loader loader(source, tokenizer(), o);
      Batch batch = loader.next();
      position = batch.position;
      for (int64_t i = 0; i < 4; ++i) { pieces.push_back(batch.pixels.data<uint8_t>()[i * 8 * 8 * 3]); }
    }
    EXPECT_EQ(pieces, all);
  }
}

TEST(Loader, TheThreadChangesNothing) {
  Numbers source(20);
  Loader ahead(source, tokenizer(), options(3, 4)), on_demand(source, tokenizer(), options(3, 0));
  EXPECT_EQ(take(ahead, 20), take(on_demand, 20));
}

TEST(Loader, OrderFollowsTheSeed) {
  Numbers source(20);
  auto order = [&](uint64_t seed, bool shuffle) {
    LoaderOptions o = options(20);
    o.seed = seed;
    o.shuffle = shuffle;
    Loader loader(source, tokenizer(), o);
    return take(loader, 1);
  };
  EXPECT_EQ(order(1, true), order(1, true));
  EXPECT_NE(order(1, true), order(2, true));
  std::vector<int> plain = order(1, false);
  for (int i = 0; i < 20; ++i) { EXPECT_EQ(plain[size_t(i)], i); }
}

TEST(Loader, BrokenPicturesAreLeftOutCountedAndNamed) {
  Numbers source(10, {2, 5});
  LoaderOptions o = options(8, 0);
  o.shuffle = false;
  Loader loader(source, tokenizer(), o);
  EXPECT_EQ(take(loader, 1), std::vector<int>({0, 1, 3, 4, 6, 7, 8, 9}));  // left out, never replaced by another picture
  LoaderReport report = loader.report();
  EXPECT_EQ(report.corrupt, 2);
  ASSERT_EQ(report.first_problems.size(), 2u);
  EXPECT_NE(report.first_problems[0].find("shard.tar: 2"), std::string::npos) << report.first_problems[0];
}

TEST(Loader, NothingReadableIsAnErrorAndNotALoop) {
  Numbers source(4, {0, 1, 2, 3});
  for (int64_t prefetch : {0, 2}) {
    Loader loader(source, tokenizer(), options(2, prefetch));
    std::string text = message_of<FormatError>([&] { loader.next(); });
    EXPECT_NE(text.find("a pass over all 4 samples filled only 0 places of a batch of 2; the first problem: "), std::string::npos) << text;
    EXPECT_NE(text.find("shard.tar: "), std::string::npos) << text;
  }
}

TEST(Loader, LimitUsesTheFirstSamples) {
  Numbers source(10);
  LoaderOptions o = options(3);
  o.limit = 3;
  Loader loader(source, tokenizer(), o);
  for (int grey : take(loader, 5)) { EXPECT_LT(grey, 3); }
}

TEST(Loader, LongCaptionsKeepTheirEnd) {
  std::vector<int32_t> ids = encode_caption(tokenizer(), std::string(200, 'z'), 6);
  EXPECT_EQ(ids.size(), 6u);
  EXPECT_EQ(ids.back(), tokenizer().eos_id());
  EXPECT_EQ(encode_caption(tokenizer(), "", 6), std::vector<int32_t>{tokenizer().eos_id()});
}

TEST(Loader, RefusesWhatCannotWork) {
  Numbers source(4);
  EXPECT_EQ(message_of<UsageError>([&] { Loader(source, tokenizer(), options(5)); }),
            "[loader] the data has 4 samples, fewer than the batch size 5. Lower --batch-size");
  EXPECT_NE(message_of<UsageError>([&] { Loader(source, tokenizer(), options(0)); }).find("must be positive"), std::string::npos);
}

// A loader that is dropped while its thread waits, decodes or has failed must join it.
TEST(Loader, MayBeDroppedAtAnyMoment) {
  Numbers source(16), broken(4, {0, 1, 2, 3});
  for (int i = 0; i < 30; ++i) {
    Loader untouched(source, tokenizer(), options(4, 1));
    Loader failing(broken, tokenizer(), options(2, 1));
    Loader used(source, tokenizer(), options(4, 3));
    used.next();
  }
}

}  // namespace
}  // namespace pumice
