#include "pumice/data/image.h"

#include <cstdio>
#include <cstdlib>
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

std::string fnv(const Image& image) {
  uint64_t h = 14695981039346656037ull;
  for (uint8_t b : image.rgb) { h = (h ^ b) * 1099511628211ull; }
  return std::to_string(h);
}

const std::string kFixtures = std::string(PUMICE_FIXTURES) + "/data/fixtures/images/";

TEST(Image, DecodesAndResizesAsPillowDoes) {
  auto expected = parse_json(read_file(kFixtures + "expected.json"));
  ASSERT_EQ(expected.size(), 11u);
  for (const auto& e : expected) {
    const std::string file = e["file"];
    Image image = decode_image(read_file(kFixtures + file), file);
    EXPECT_EQ(image.width, e["width"]) << file;
    EXPECT_EQ(fnv(image), e["rgb"]) << file;
    EXPECT_EQ(fnv(resize(image, 9, 13)), e["bicubic_9x13"]) << file;
    EXPECT_EQ(fnv(resize(image, 40, 31, Filter::bilinear)), e["bilinear_40x31"]) << file;
    EXPECT_EQ(fnv(resize_and_crop(image, 8)), e["crop_8"]) << file;
  }
}

// One picture of each kind; by hand over as many as tests/oracle/make_many_images.py is asked for, in the folder that PUMICE_PICTURES names.
TEST(Image, ManyPicturesAreDecodedAsPillowDoes) {
  const char* given = std::getenv("PUMICE_PICTURES");
  const std::string folder = given ? given : PUMICE_FIXTURES "/data/fixtures/pictures";
  auto expected = parse_json(read_file(folder + "/expected.json"));
  ASSERT_GE(expected.size(), 32u);
  std::map<std::string, std::pair<int, int>> kinds;  // equal, all
  for (const auto& e : expected) {
    const std::string file = e["file"];
    if (!reads_webp() && file.find(".webp") != std::string::npos) { continue; }
    Image image = decode_image(read_file(folder + "/" + file), file);
    const bool equal = image.width == e["width"] && fnv(image) == e["rgb"] &&
                       (!e.contains("crop_8") || fnv(resize_and_crop(image, 8)) == e["crop_8"]) &&
                       fnv(decode_image(read_file(folder + "/" + file), file, {.exif_orientation = true})) == e["upright"];
    EXPECT_TRUE(equal) << file;
    auto& [same, all] = kinds[file.substr(5)];
    same += equal;
    ++all;
  }
  if (!reads_webp()) { std::printf("  no libwebp in this build: WebP pictures were not checked\n"); }
  for (const auto& [kind, count] : kinds) { std::printf("  %-24s %d of %d equal\n", kind.c_str(), count.first, count.second); }
}

TEST(Image, PngRoundTrip) {
  Image image{3, 2, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 255}};
  std::string png = encode_png(image);
  EXPECT_EQ(png, encode_png(image));
  EXPECT_EQ(decode_image(png, "p").rgb, image.rgb);
}

TEST(Image, ResizeToTheSameSizeIsTheIdentity) {
  Image image{2, 1, {10, 20, 30, 40, 50, 60}};
  EXPECT_EQ(resize(image, 2, 1).rgb, image.rgb);
  EXPECT_EQ(resize(image, 1, 1, Filter::bilinear).rgb, (std::vector<uint8_t>{25, 35, 45}));
}

TEST(Image, TruncatedFilesAreErrorsAtEveryLength) {
  for (const char* file : {"rgb.png", "rgb.jpg", "progressive.jpg"}) {
    std::string bytes = read_file(kFixtures + file);
    for (size_t n = 0; n + 12 < bytes.size(); n += 7) {
      EXPECT_THROW(decode_image(bytes.substr(0, n), file), FormatError) << file << " cut to " << n;
    }
  }
}

TEST(Image, MessagesSayWhatTheFileIs) {
  auto text = [](const std::string& bytes) { return message_of<FormatError>([&] { decode_image(bytes, "a/b.png"); }); };
  const std::string wanted = "; a PNG, JPEG or WebP picture is required";
  EXPECT_EQ(text(""), "[image] a/b.png is an empty file" + wanted);
  EXPECT_EQ(text("GIF89a..."), "[image] a/b.png is a GIF picture" + wanted);
  EXPECT_EQ(text("version https://git-lfs.github.com/spec/v1\n"),
            "[image] a/b.png is a git-lfs pointer, not the file itself: run git lfs pull" + wanted);
  EXPECT_EQ(text("PK\x03\x04..."), "[image] a/b.png is a zip archive (a PyTorch or NumPy .npz file is one too)" + wanted);
  EXPECT_EQ(text(std::string("\0\0\0\x1c" "ftypavif....", 16)), "[image] a/b.png is an AVIF, HEIC or MP4 file" + wanted);
  EXPECT_EQ(text("hello"), "[image] a/b.png starts with unknown bytes" + wanted);
  EXPECT_EQ(text(read_file(kFixtures + "rgb.png").substr(0, 60)),
            "[image] a/b.png is not a readable PNG: the file ends too early. Replace or remove the file");
}

TEST(Image, WebpIsReadWholeOrRefusedByName) {
  const std::string folder = PUMICE_FIXTURES "/data/fixtures/pictures/";
  if (!reads_webp()) {
    EXPECT_EQ(message_of<FormatError>([&] { decode_image(read_file(folder + "0023_rgb.webp"), "a.webp"); }),
              "[image] a.webp is a WebP picture, and this build has no libwebp. Install libwebp-dev and build again with -DPUMICE_WEBP=ON, or "
              "convert the picture to PNG");
    return;
  }
  for (const char* file : {"0023_rgb.webp", "0024_rgba.webp", "0025_lossless.webp", "0030_animation.webp"}) {
    const std::string bytes = read_file(folder + file);
    for (size_t n = 12; n + 1 < bytes.size(); n += 7) {
      EXPECT_THROW(decode_image(bytes.substr(0, n), file), FormatError) << file << " cut to " << n;
    }
  }
  EXPECT_EQ(message_of<FormatError>([&] { decode_image(read_file(folder + "0023_rgb.webp").substr(0, 40), "a.webp"); }),
            "[image] a.webp is not a readable WebP: it was cut short, or its chunks do not fit together. Replace or remove the file");
  std::string huge = read_file(folder + "0031_offset.webp");  // its canvas stands in the VP8X chunk
  huge.replace(24, 6, "\x5f\xea\x00\x5f\xea\x00", 6);
  EXPECT_EQ(message_of<FormatError>([&] { decode_image(huge, "huge.webp"); }),
            "[image] huge.webp is 60000 x 60000 pixels, more than the limit of 25000000. Shrink the picture");
}

TEST(Image, HugeHeadersAreRefusedBeforeAnythingIsAllocated) {
  std::string png = read_file(kFixtures + "rgb.png");
  // width and height in the IHDR chunk, with its CRC-32 left wrong or set right: both must be errors
  png.replace(16, 8, std::string("\x00\x0f\x42\x40\x00\x0f\x42\x40", 8));
  EXPECT_THROW(decode_image(png, "huge"), FormatError);
  std::string jpeg = read_file(kFixtures + "rgb.jpg");
  size_t sof = jpeg.find("\xff\xc0");
  jpeg.replace(sof + 5, 4, "\xea\x60\xea\x60");
  EXPECT_EQ(message_of<FormatError>([&] { decode_image(jpeg, "huge.jpg"); }),
            "[image] huge.jpg is 60000 x 60000 pixels, more than the limit of 25000000. Shrink the picture");
}

}  // namespace
}  // namespace pumice
