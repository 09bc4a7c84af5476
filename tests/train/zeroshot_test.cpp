#include "pumice/models/limoe.h"
#include "pumice/train/optim/adamw.h"
#include "pumice/train/eval/zeroshot.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "pumice/data/image.h"
#include "../message_of.h"
#include "../temporary.h"

namespace pumice {
namespace {

using testing::message_of;
using testing::Temporary;

// An untrained toy model on disk. What is tested is the protocol around it.
class Zeroshot : public ::testing::Test {
 protected:
  Zeroshot() {
    const ImageTextConfig c{.image_size = 16, .patch = 8, .text_length = 12, .vocabulary = 300, .depth = 2, .width = 16, .heads = 2, .hidden = 32,
                        .embedding = 8, .moe_layers = {1}, .router = {.experts = 4, .eval = Capacity::dropless()}};
    Limoe model(c, 3);
    TokenizerTraining t;
    t.vocab_size = 300;
    save_checkpoint(directory_.path(), {.step = 1, .options = "{}"}, {}, [&](const std::string& directory) {
      write_image_text(directory, model, Tokenizer::train({"a photo of a red cat", "a blue dog"}, t));
    });
    pipeline_ = std::make_unique<ImageTextPipeline>(directory_.path());
  }

  // 30 pictures of 3 classes; picture 7 is broken.
  static LabelledSet set() {
    LabelledSet s;
    s.classnames = {"red cat", "blue dog", "green {bird}"};
    s.templates = {"a photo of a {}.", "{c}"};
    s.count = 30;
    s.read = [](int64_t i) {
      Image image{16, 16, std::vector<uint8_t>(16 * 16 * 3)};
      for (size_t k = 0; k < image.rgb.size(); ++k) { image.rgb[k] = uint8_t(uint64_t(i + 1) * 7919 * (k + 13) >> 3); }
      std::string png = encode_png(image);
      return LabelledSample{i == 7 ? png.substr(0, 50) : png, "picture " + std::to_string(i), int(i % 3)};
    };
    return s;
  }

  Temporary directory_;
  std::unique_ptr<ImageTextPipeline> pipeline_;
};

TEST_F(Zeroshot, AClassIsTheNormalisedMeanOfItsPrompts) {
  Tensor classes = class_embeddings(*pipeline_, {"red cat", "blue dog"}, {"a photo of a {}.", "{c}"});
  std::vector<std::string> prompts = {"a photo of a blue dog.", "blue dog"};
  std::vector<double> each = pipeline_->encode_texts(prompts).to_vector<double>(), got = classes.to_vector<double>();
  double norm = 0;
  for (int k = 0; k < 8; ++k) { norm += std::pow(each[size_t(k)] + each[size_t(8 + k)], 2); }
  for (int k = 0; k < 8; ++k) { EXPECT_NEAR(got[size_t(8 + k)], (each[size_t(k)] + each[size_t(8 + k)]) / std::sqrt(norm), 1e-5); }
  EXPECT_NE(message_of<FormatError>([&] { class_embeddings(*pipeline_, {"a"}, {"a photo"}); }).find("a template needs {} or {c}"), std::string::npos);
}

// big_vision's canonicalize_text, by its rules.
TEST_F(Zeroshot, CanonicalPrompts) {
  EXPECT_EQ(canonicalize("  A photo of a Red_Cat,\t(close-up)!  "), "a photo of a red cat closeup");
  EXPECT_EQ(canonicalize("itap of my \xC3\x84pfel."), "itap of my \xC3\xA4pfel");
  EXPECT_EQ(canonicalize("_.!"), "");
  const std::vector<double> canonical = class_embeddings(*pipeline_, {"Red_Cat"}, {"{}!"}, true).to_vector<double>();
  EXPECT_EQ(canonical, class_embeddings(*pipeline_, {"red cat"}, {"{}"}).to_vector<double>());
  EXPECT_NE(canonical, class_embeddings(*pipeline_, {"Red_Cat"}, {"{}!"}).to_vector<double>());
}

// Without capacity an embedding depends on its own input only, whatever stands beside it in the batch.
TEST_F(Zeroshot, EmbeddingsDoNotDependOnTheBatch) {
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) { texts.push_back("a photo of a cat number " + std::to_string(i)); }
  std::vector<double> together = pipeline_->encode_texts(texts).to_vector<double>(), chunks = pipeline_->encode_texts(texts, 3).to_vector<double>();
  for (size_t i = 0; i < together.size(); ++i) { EXPECT_NEAR(together[i], chunks[i], 1e-6); }
}

TEST_F(Zeroshot, CountsWhatIsNearest) {
  LabelledSet s = set();
  ZeroshotResult r = evaluate_zeroshot(*pipeline_, s, nullptr);
  EXPECT_EQ(r.images, 29);
  EXPECT_EQ(r.classes, 3);
  EXPECT_EQ(r.templates, 2);
  ASSERT_EQ(r.problems.size(), 1u);
  EXPECT_NE(r.problems[0].find("picture 7"), std::string::npos) << r.problems[0];
  EXPECT_EQ(r.top5, 1);  // of three classes
  EXPECT_NEAR(r.chance, 1.0 / 3, 1e-12);
  EXPECT_EQ(r.colour_baseline, -1);

  // The same by hand.
  std::vector<double> w = class_embeddings(*pipeline_, s.classnames, s.templates).to_vector<double>();
  double right[3] = {}, seen[3] = {};
  std::map<std::pair<int, int>, int64_t> wrong;
  for (int64_t i = 0; i < 30; ++i) {
    if (i == 7) { continue; }
    PixelBatch one(*pipeline_);
    ASSERT_TRUE(one.add(s.sample(i).image, "x"));
    std::vector<double> z = pipeline_->encode_pixels(one.pixels()).to_vector<double>();
    double score[3] = {};
    for (int c = 0; c < 3; ++c) {
      for (int k = 0; k < 8; ++k) { score[c] += z[size_t(k)] * w[size_t(c * 8 + k)]; }
    }
    ++seen[i % 3];
    const int answer = int(std::max_element(score, score + 3) - score);
    right[i % 3] += answer == i % 3;
    if (answer != i % 3) { ++wrong[{int(i % 3), answer}]; }
  }
  EXPECT_NEAR(r.top1, (right[0] + right[1] + right[2]) / 29, 1e-12);
  EXPECT_NEAR(r.mean_per_class_recall, (right[0] / seen[0] + right[1] / seen[1] + right[2] / seen[2]) / 3, 1e-12);
  EXPECT_NEAR(r.per_class[1], right[1] / seen[1], 1e-12);
  EXPECT_EQ(r.images_per_class, (std::vector<int64_t>{10, 9, 10}));
  ASSERT_EQ(r.confusions.size(), wrong.size());
  ASSERT_GE(wrong.size(), 2u) << "the toy model confuses classes";
  for (size_t i = 0; i < r.confusions.size(); ++i) {
    const Confusion& c = r.confusions[i];
    EXPECT_EQ(c.count, (wrong[{c.truth, c.taken_for}]));
    EXPECT_EQ(c.of, c.truth == 1 ? 9 : 10);
    if (i) { EXPECT_GE(r.confusions[i - 1].count, c.count); }
  }
}

TEST_F(Zeroshot, BaselinesComeFromTheTrainingSide) {
  LabelledSet s = set();
  ZeroshotResult r = evaluate_zeroshot(*pipeline_, s, &s);  // its own neighbours: perfect
  EXPECT_EQ(r.colour_baseline, 1);
  EXPECT_EQ(r.pixel_baseline, 1);
}

TEST_F(Zeroshot, NothingReadableIsAnError) {
  LabelledSet s = set();
  s.read = [](int64_t i) { return LabelledSample{"no picture", "picture " + std::to_string(i), 0}; };
  EXPECT_NE(
      message_of<FormatError>([&] { evaluate_zeroshot(*pipeline_, s, nullptr); }).find("none of the 30 pictures could be read; the first problem: "),
      std::string::npos);
  s.count = 0;
  EXPECT_NE(message_of<FormatError>([&] { evaluate_zeroshot(*pipeline_, s, nullptr); }).find("0 pictures"), std::string::npos);
}

}  // namespace
}  // namespace pumice
