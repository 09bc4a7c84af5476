#include "pumice/train/eval/retrieval.h"

#include <gtest/gtest.h>

#include <cmath>

#include "../message_of.h"

namespace pumice {
namespace {

Tensor rows(int64_t n, const std::vector<float>& values) { return from_values<float>({n, int64_t(values.size()) / n}, values); }

TEST(Retrieval, PerfectAndReversed) {
  Tensor eye = rows(3, {1, 0, 0, 0, 1, 0, 0, 0, 1});
  RetrievalResult r = rank_retrieval(eye, eye, {0, 1, 2}, {0, 1, 2});
  EXPECT_EQ(r.image_to_text.at1, 1);
  EXPECT_EQ(r.text_to_image.at1, 1);
  r = rank_retrieval(eye, rows(3, {0, 1, 0, 0, 0, 1, 1, 0, 0}), {0, 1, 2}, {0, 1, 2});  // every caption says another picture
  EXPECT_EQ(r.image_to_text.at1, 0);
  EXPECT_EQ(r.image_to_text.at5, 1);
}

// Two captions of picture 0, one of picture 1 that is word for word one of picture 0's, one of picture 2.
TEST(Retrieval, IdenticalCaptionsAreHitsForEachOfTheirPictures) {
  Tensor image = rows(3, {1, 0, 0.9f, std::sqrt(0.19f), 0, 1});
  Tensor text = rows(4, {1, 0, 0.8f, 0.6f, 1, 0, 0, 1});
  RetrievalResult r = rank_retrieval(image, text, {0, 1, 0, 2}, {0, 0, 1, 2});
  EXPECT_EQ(r.images, 3);
  EXPECT_EQ(r.captions, 4);
  EXPECT_EQ(r.distinct_captions, 3);
  // image 0 -> caption 0, right. image 1 -> (0.8, 0.6) scores .72 + .26 > .9: the caption of picture 0, wrong. image 2 -> right.
  EXPECT_NEAR(r.image_to_text.at1, 2.0 / 3, 1e-12);
  // texts 0 and 2 are the same words: picture 0 is a hit for both, although text 2 stands at picture 1.
  // text 1 prefers picture 1 (.98) to its own picture 0 (.8).
  EXPECT_NEAR(r.text_to_image.at1, 3.0 / 4, 1e-12);
  EXPECT_EQ(r.text_to_image.at5, 1);
}

TEST(Retrieval, AConstantModelScoresNothing) {
  Tensor same = full({20, 4}, 0.5);
  std::vector<int64_t> own(20);
  for (int64_t i = 0; i < 20; ++i) { own[size_t(i)] = i; }
  RetrievalResult r = rank_retrieval(same, same, own, own);
  EXPECT_EQ(r.image_to_text.at10, 0);  // ties go to the wrong answers
  EXPECT_EQ(r.text_to_image.at10, 0);
}

TEST(Retrieval, ChunksChangeNothingAndChanceIsExact) {
  const int64_t n = 37;
  std::vector<float> a, b;
  std::vector<int64_t> own;
  for (int64_t i = 0; i < n; ++i) {
    own.push_back(i);
    for (int k = 0; k < 5; ++k) {
      a.push_back(std::sin(float(i * 5 + k)));
      b.push_back(std::sin(float(i * 5 + k) + 0.7f));
    }
  }
  RetrievalResult whole = rank_retrieval(rows(n, a), rows(n, b), own, own), pieces = rank_retrieval(rows(n, a), rows(n, b), own, own, 5);
  EXPECT_EQ(whole.image_to_text.at5, pieces.image_to_text.at5);
  EXPECT_EQ(whole.text_to_image.at1, pieces.text_to_image.at1);
  EXPECT_NEAR(whole.chance_image_to_text.at1, 1.0 / n, 1e-12);
  EXPECT_NEAR(whole.chance_text_to_image.at10, 10.0 / n, 1e-12);
  // two right captions among four: missing both of one draw is 1/2, one of five draws is certain
  Tensor two = rows(2, {1, 0, 0, 1});
  RetrievalResult r = rank_retrieval(two, rows(4, {1, 0, 1, 0, 0, 1, 0, 1}), {0, 1, 2, 3}, {0, 0, 1, 1});
  EXPECT_NEAR(r.chance_image_to_text.at1, 0.5, 1e-12);
  EXPECT_NEAR(r.chance_image_to_text.at5, 1, 1e-12);
}

TEST(Retrieval, ErrorsSayWhatDoesNotFit) {
  Tensor two = rows(2, {1, 0, 0, 1});
  EXPECT_NE(testing::message_of<ShapeError>([&] { rank_retrieval(two, two, {0}, {0, 1}); }).find("got 2 texts, 1 ids and 2 images"),
            std::string::npos);
  EXPECT_NE(testing::message_of<ShapeError>([&] { rank_retrieval(two, two, {0, 1}, {0, 0}); }).find("every image needs a caption"),
            std::string::npos);
}

}  // namespace
}  // namespace pumice
