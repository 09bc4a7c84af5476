#include "pumice/data/augment.h"

#include <cmath>
#include <gtest/gtest.h>
#include <set>

#include "pumice/data/text.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

Image drawn() {
  Image image{37, 23, {}};
  for (int y = 0; y < 23; ++y) {
    for (int x = 0; x < 37; ++x) {
      for (int c = 0; c < 3; ++c) { image.rgb.push_back(uint8_t(x * 7 + y * 13 + c * 50 + x * y % 11 * 9)); }
    }
  }
  return image;
}

uint64_t hash(const Image& image) { return hash_of({reinterpret_cast<const char*>(image.rgb.data()), image.rgb.size()}); }

// tests/oracle/print_augment_hashes.py
TEST(Augment, ThePartsArePillowsToTheBit) {
  const Image image = drawn();
  const std::pair<Image, uint64_t> cases[] = {
      {grey(image), 0x2d0df6a434203a7eull},
      {mirrored(image), 0x0a5e42558c1e29a8ull},
      {with_brightness(image, 0.0f), 0x08946163a88a99ffull},
      {with_contrast(image, 0.0f), 0xba3c7d2fe317277full},
      {with_saturation(image, 0.0f), 0x2d0df6a434203a7eull},
      {with_brightness(image, 0.37f), 0x4572ff375b32a1c5ull},
      {with_contrast(image, 0.37f), 0x96f5c6acd13c2bbdull},
      {with_saturation(image, 0.37f), 0x1f17163bad6fd999ull},
      {with_brightness(image, 0.9f), 0xcbe6d128e019189dull},
      {with_contrast(image, 0.9f), 0x748a08023ea003abull},
      {with_saturation(image, 0.9f), 0xd29f486c81b1d4e9ull},
      {with_brightness(image, 1.6f), 0x6f7a4ec6a7da9ad6ull},
      {with_contrast(image, 1.6f), 0x149784f7a27c1cddull},
      {with_saturation(image, 1.6f), 0x8b1104941136bedaull},
      {with_hue(image, 0.0), 0xe1ff0eec1c9e1adcull},
      {with_hue(image, 0.1), 0x4e422a7994dd9743ull},
      {with_hue(image, -0.23), 0x17616e8180b53569ull},
      {with_hue(image, 0.5), 0x2267796b1306a3feull},
      {with_hue(image, -0.5), 0xdc9d5d9e8ab6a440ull},
      {resize(crop(image, 5, 3, 26, 17), 16, 16), 0x039dc74b7118073bull},
  };
  for (const auto& [out, want] : cases) { EXPECT_EQ(hash(out), want) << "case " << &want - &cases[0].second; }
}

TEST(Augment, TheHueOfEveryColourIsTurnedAsPillowDoes) {
  Image all{4096, 4096, std::vector<uint8_t>(size_t(3) << 24)};
  for (size_t c = 0; c < size_t(1) << 24; ++c) {
    for (size_t i = 0; i < 3; ++i) { all.rgb[3 * c + i] = uint8_t(c >> 8 * i); }
  }
  EXPECT_EQ(hash(with_hue(all, 0.3)), 0x20454d2300d938a7ull);
}

TEST(Augment, DependsOnSeedEpochAndSampleAlone) {
  const Augmentation a{.min_scale = 0.3, .flip = 0.5, .brightness = 0.4, .contrast = 0.4, .saturation = 0.4, .hue = 0.1, .grey = 0.2};
  const Image image = drawn();
  EXPECT_EQ(hash(augment(image, 16, a, 1, 2, 3)), hash(augment(image, 16, a, 1, 2, 3)));
  std::set<uint64_t> seen;
  for (int i = 0; i < 20; ++i) {
    seen.insert(hash(augment(image, 16, a, 1, 2, i)));
    seen.insert(hash(augment(image, 16, a, 1, i + 3, 3)));
    seen.insert(hash(augment(image, 16, a, uint64_t(i) + 4, 2, 3)));
  }
  EXPECT_EQ(seen.size(), 60u);
  EXPECT_EQ(hash(augment(image, 16, {}, 1, 2, 3)), hash(resize_and_crop(image, 16)));
}

// What is kept has the share of the area and the ratio that were asked for; flips and grey come as often as they should.
TEST(Augment, FollowsItsDistributions) {
  Image ramp{100, 100, {}};
  for (int i = 0; i < 100 * 100; ++i) { ramp.rgb.insert(ramp.rgb.end(), {uint8_t(i % 100), uint8_t(i / 100), 0}); }
  int flipped = 0, grey = 0, small = 0;
  for (int i = 0; i < 400; ++i) {
    Image out = augment(ramp, 100, {.min_scale = 0.25, .flip = 0.3}, 5, 0, i);
    const int left = out.rgb[0], right = out.rgb[99 * 3], top = out.rgb[1], bottom = out.rgb[99 * 100 * 3 + 1];
    flipped += left > right;
    const double width = std::abs(right - left) + 1, height = bottom - top + 1;
    EXPECT_GT(width * height, 0.25 * 10000 * 0.9);
    EXPECT_LT(width / height, 4.0 / 3 * 1.1);
    small += width * height < 0.625 * 10000;
    out = augment(ramp, 8, {.grey = 0.3}, 5, 0, i);
    grey += out.rgb[0] == out.rgb[1] && out.rgb[0] == out.rgb[2];
  }
  EXPECT_NEAR(flipped / 400.0, 0.3, 0.08);
  EXPECT_NEAR(grey / 400.0, 0.3, 0.08);
  // A crop of area s fits at a ratio in [s, 1 / s]: for s over 3/4 the chance is ln(1 / s) / ln(4 / 3), so that the areas of 1/4 to 1 that are
  // kept have the mass 0.619 instead of 0.75, and those under 0.625 have 0.375 / 0.619 of it.
  EXPECT_NEAR(small / 400.0, 0.606, 0.08);
}

TEST(Augment, ExtremeShapesFallBackToTheCentre) {
  Image line{3, 200, std::vector<uint8_t>(3 * 200 * 3, 7)};
  for (int i = 0; i < 20; ++i) { EXPECT_EQ(augment(line, 4, {.min_scale = 0.9}, 1, 0, i).rgb, std::vector<uint8_t>(48, 7)); }
  EXPECT_NE(message_of<UsageError>([] { Augmentation{.min_scale = 1.2}.validate(); }).find("--aug-scale"), std::string::npos);
  EXPECT_EQ(message_of<UsageError>([] { Augmentation{.hue = 0.6}.validate(); }),
            "[augment] the fourth number of --aug-color-jitter, the turn of the hue, must be in [0, 0.5], got 0.6");
  EXPECT_NE(message_of<UsageError>([] { Augmentation{.flip = 2}.validate(); }).find("--aug-flip"), std::string::npos);
}

}  // namespace
}  // namespace pumice
