// How pictures are prepared: what a preprocessor_config.json says, and pictures and files that nobody meant to be read.
#include "pumice/data/picture_input.h"

#include <gtest/gtest.h>

#include <map>

#include "../message_of.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"

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

// Against Transformers' slow processors (tests/oracle/make_picture_input_fixtures.py): not one bit differs, neither of pixels nor of what they become. A
// level x becomes f32(x / 255) on both sides (theirs by way of f64), and the two f32 operations that follow are the same.
TEST(PictureInput, EqualsTransformers) {
  const std::string directory = PUMICE_FIXTURES "/data/fixtures/picture_input/";
  const SafetensorsFile want = SafetensorsFile::open(directory + "expected.safetensors");
  const std::map<std::string, std::string> levels_of = {{"clip-mean", "clip-mean"}, {"siglip", "siglip"}, {"siglip-bilinear", "siglip"}};  // else clip
  int64_t compared = 0;
  for (const std::string& name : want.names()) {
    const std::string processor = name.substr(0, name.find('/')), fit = name.substr(name.find('/') + 1);
    if (fit == "levels") { continue; }
    const std::string file = directory + "processors/" + processor + ".json";
    PictureInput input = picture_input_from_hf(read_file(file), file);
    if (fit == "pad") { input.fit = PictureInput::Fit::pad; }
    const auto of = levels_of.find(processor);
    const std::vector<float> levels = want.load((of == levels_of.end() ? "clip" : of->second) + "/levels").to_vector<float>();
    const Tensor pictures = want.load(name);
    const int64_t n = input.size * input.size;
    ASSERT_EQ(pictures.shape(), (Shape{10, input.size, input.size, 3})) << name;
    const uint8_t* pixels = pictures.data<uint8_t>();
    for (const char* picture : {"alpha", "column", "exact", "grey", "noise", "pixel", "row", "small", "tall", "wide"}) {
      const std::string path = directory + picture + ".png";
      const std::vector<float> got = picture_tensor(decode_image(read_file(path), path), input).to_vector<float>();
      int64_t differ = 0;
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t c = 0; c < 3; ++c) { differ += got[size_t(c * n + i)] != levels[size_t(c * 256 + pixels[i * 3 + c])]; }
      }
      EXPECT_EQ(differ, 0) << name << " of " << picture << ".png: values of " << 3 * n;
      pixels += n * 3;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 120);
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
