// How pictures are prepared: what a preprocessor_config.json says, and pictures and files that nobody meant to be read.
#include "pumice/data/picture_input.h"

#include <gtest/gtest.h>

#include "../message_of.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

using testing::message_of;

std::string problem(const std::string& json) {
  return message_of<FormatError>([&] { picture_input_from_hf(json, "p.json"); });
}

TEST(PictureInput, ReadsClipAndSiglip) {
  const PictureInput clip = picture_input_from_hf(
      R"({"crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "do_resize": true, "size": {"shortest_edge": 224}, "resample": 3,
          "rescale_factor": 0.00392156862745098, "image_mean": [0.5, 0.25, 0.125]})", "p.json");
  EXPECT_EQ(clip.size, 224);
  EXPECT_EQ(clip.fit, PictureInput::Fit::crop);
  EXPECT_EQ(clip.mean[2], 0.125f);
  const PictureInput siglip = picture_input_from_hf(R"({"do_center_crop": null, "size": {"height": 384, "width": 384}, "resample": 2})", "p.json");
  EXPECT_EQ(siglip.size, 384);
  EXPECT_EQ(siglip.fit, PictureInput::Fit::squash);
  EXPECT_EQ(siglip.filter, Filter::bilinear);
}

TEST(PictureInput, WrongFieldsAreNamed) {
  EXPECT_EQ(problem(R"({"do_center_crop": "yes"})"), "p.json: \"do_center_crop\" must be true or false, got \"yes\"");
  EXPECT_EQ(problem(R"({"do_normalize": false})"), "p.json: \"do_normalize\": false is not supported, only true");
  EXPECT_EQ(problem(R"({"rescale_factor": 1.0})"), "p.json: \"rescale_factor\" must be 1/255, got 1.0");
  EXPECT_EQ(problem(R"({"size": 1e9})"), "p.json: a size must be an integer from 1 to 8192, got 1000000000.0");
  EXPECT_EQ(problem(R"({"image_std": [1, 0, 1]})"), "p.json: \"image_std\" must be above 0, got 0");
}

TEST(PictureInput, ALineOfPixelsDoesNotFillTheMemory) {
  const Image line{60000, 1, std::vector<uint8_t>(60000 * 3)};
  const auto message = [&](PictureInput::Fit fit) { return message_of<ShapeError>([&] { picture_tensor(line, {.size = 336, .fit = fit}); }); };
  EXPECT_EQ(message(PictureInput::Fit::pad), "[picture] to pad a picture of 60000 x 1 takes 3600000000 pixels on the way, more than 268435456: cut it, or squash it");
  EXPECT_EQ(message(PictureInput::Fit::crop), "[picture] to crop a picture of 60000 x 1 takes 6773760000 pixels on the way, more than 268435456: cut it, or squash it");
  EXPECT_EQ(picture_tensor(line, {.size = 8, .fit = PictureInput::Fit::squash}).shape(), (Shape{3, 8, 8}));
}

}  // namespace
}  // namespace pumice
