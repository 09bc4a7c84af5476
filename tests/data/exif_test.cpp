#include "pumice/data/exif.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "pumice/data/text.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

std::string fnv(const Image& image) { return std::to_string(hash_of({reinterpret_cast<const char*>(image.rgb.data()), image.rgb.size()})); }

// tests/oracle/make_image_fixtures.py: what PIL.ImageOps.exif_transpose makes of them.
TEST(Exif, AllEightOrientationsOfEveryFormatAsPillowTurnsThem) {
  const std::string folder = PUMICE_FIXTURES "/data/fixtures/images/";
  auto expected = parse_json(read_file(folder + "orientations.json"));
  ASSERT_EQ(expected.size(), 24u);
  for (const auto& e : expected) {
    const std::string file = e["file"], bytes = read_file(folder + file);
    EXPECT_EQ(exif_orientation(bytes), file[12] - '0') << file;
    if (!reads_webp() && file.find(".webp") != std::string::npos) { continue; }
    Image image = decode_image(bytes, file, {.exif_orientation = true});
    EXPECT_EQ(image.width, e["width"]) << file;
    EXPECT_EQ(image.height, e["height"]) << file;
    EXPECT_EQ(fnv(image), e["rgb"]) << file;
    EXPECT_EQ(decode_image(bytes, file).width, 9) << file << ": ignored unless asked for";
  }
}

// A JPEG's first segment with one directory of one entry, in either byte order.
std::string jpeg_with(bool big, uint32_t tag, uint32_t type, uint32_t count, uint32_t value, uint32_t directory = 8) {
  std::string tiff = big ? std::string("MM\0*", 4) : std::string("II*\0", 4);
  auto put = [&](uint32_t v, int size) {
    for (int i = 0; i < size; ++i) { tiff += char(v >> 8 * (big ? size - 1 - i : i) & 255); }
  };
  put(directory, 4);
  put(1, 2);
  put(tag, 2);
  put(type, 2);
  put(count, 4);
  put(value, type == 3 ? 2 : 4);
  if (type == 3) { put(0, 2); }
  const size_t length = 2 + 6 + tiff.size();
  return std::string("\xff\xd8\xff\xe1") + char(length >> 8) + char(length & 255) + std::string("Exif\0\0", 6) + tiff;
}

TEST(Exif, ReadsBothByteOrdersAndIgnoresNonsense) {
  for (bool big : {false, true}) {
    EXPECT_EQ(exif_orientation(jpeg_with(big, 0x0112, 3, 1, 6)), 6);
    EXPECT_EQ(exif_orientation(jpeg_with(big, 0x0112, 4, 1, 5)), 5);
    EXPECT_EQ(exif_orientation(jpeg_with(big, 0x0112, 3, 1, 9)), 1);   // no such orientation
    EXPECT_EQ(exif_orientation(jpeg_with(big, 0x0112, 3, 1, 0)), 1);
    EXPECT_EQ(exif_orientation(jpeg_with(big, 0x0112, 3, 2, 6)), 1);   // two of them
    EXPECT_EQ(exif_orientation(jpeg_with(big, 0x0112, 2, 1, 6)), 1);   // text
    EXPECT_EQ(exif_orientation(jpeg_with(big, 0x0110, 3, 1, 6)), 1);   // another tag
    EXPECT_EQ(exif_orientation(jpeg_with(big, 0x0112, 3, 1, 6, 0xffffffff)), 1);
    const std::string whole = jpeg_with(big, 0x0112, 3, 1, 6);
    for (size_t n = 0; n < whole.size(); ++n) { EXPECT_EQ(exif_orientation(whole.substr(0, n)), 1) << n; }
  }
  EXPECT_EQ(exif_orientation(""), 1);
  EXPECT_EQ(exif_orientation("GIF89a"), 1);
}

TEST(Exif, TurningTwiceIsTheIdentityWhereItShouldBe) {
  Image image{3, 2, {}};
  for (int i = 0; i < 18; ++i) { image.rgb.push_back(uint8_t(i)); }
  for (int own : {1, 2, 3, 4, 5, 7}) { EXPECT_EQ(oriented(oriented(image, own), own).rgb, image.rgb) << own; }
  EXPECT_EQ(oriented(oriented(image, 6), 8).rgb, image.rgb);
}

}  // namespace
}  // namespace pumice
