#include "pumice/data/exif.h"

#include <cstring>

namespace pumice {
namespace {

constexpr std::string_view kExifMark("Exif\0\0", 6);

uint32_t number(std::string_view bytes, size_t at, int size, bool big_endian) {
  uint32_t value = 0;
  for (int i = 0; i < size; ++i) { value |= uint32_t(uint8_t(bytes[at + size_t(i)])) << 8 * (big_endian ? size - 1 - i : i); }
  return value;
}

// The orientation in the first directory of a TIFF structure, 1 if it is not there.
int orientation_in(std::string_view tiff) {
  while (tiff.substr(0, 6) == kExifMark) { tiff.remove_prefix(6); }  // repeated by some writers of PNG and WebP
  if (tiff.size() < 8) { return 1; }
  const bool big = tiff.substr(0, 4) == std::string_view("MM\0*", 4);
  if (!big && tiff.substr(0, 4) != std::string_view("II*\0", 4)) { return 1; }
  size_t at = number(tiff, 4, 4, big);
  if (at > tiff.size() || tiff.size() - at < 2) { return 1; }
  const uint32_t entries = number(tiff, at, 2, big);
  at += 2;
  int found = 1;
  for (uint32_t i = 0; i < entries && tiff.size() - at >= 12; ++i, at += 12) {  // tag, type, count, value
    if (number(tiff, at, 2, big) != 0x0112 || number(tiff, at + 4, 4, big) != 1) { continue; }
    const uint32_t type = number(tiff, at + 2, 2, big);
    const uint32_t value = type == 3 ? number(tiff, at + 8, 2, big) : type == 4 ? number(tiff, at + 8, 4, big) : 1;  // SHORT, LONG
    found = value >= 1 && value <= 8 ? int(value) : 1;
  }
  return found;
}

std::string_view exif_of_jpeg(std::string_view bytes) {
  for (size_t at = 2; at + 4 <= bytes.size() && bytes[at] == '\xff';) {
    const uint8_t marker = uint8_t(bytes[at + 1]);
    if (marker == 0xff) { ++at; continue; }                       // fill byte
    if (marker == 0xda || marker == 0xd9) { break; }              // pixels begin, or the end
    const size_t length = number(bytes, at + 2, 2, true);         // of the segment, these two bytes included
    if (length < 2 || length > bytes.size() - at - 2) { break; }
    std::string_view segment = bytes.substr(at + 4, length - 2);
    if (marker == 0xe1 && segment.substr(0, 6) == kExifMark) { return segment; }
    at += 2 + length;
  }
  return {};
}

// The data of the first chunk of this name: PNG has length, name, data, CRC; RIFF name, length, data, padded to even lengths.
std::string_view chunk_named(std::string_view bytes, size_t at, std::string_view name, bool png) {
  const size_t footer = png ? 4 : 0;
  while (at + 8 <= bytes.size()) {
    const size_t size = number(bytes, png ? at : at + 4, 4, png);
    if (size > bytes.size() - at - 8) { break; }
    if (bytes.substr(png ? at + 4 : at, 4) == name) { return bytes.substr(at + 8, size); }
    const size_t step = 8 + size + footer + (png ? 0 : size % 2);
    if (step > bytes.size() - at) { break; }
    at += step;
  }
  return {};
}

}  // namespace

int exif_orientation(std::string_view picture) {
  if (picture.substr(0, 2) == "\xff\xd8") { return orientation_in(exif_of_jpeg(picture)); }
  if (picture.substr(0, 4) == "\x89PNG") { return orientation_in(chunk_named(picture, 8, "eXIf", true)); }
  if (picture.substr(0, 4) == "RIFF") { return orientation_in(chunk_named(picture, 12, "EXIF", false)); }
  return 1;
}

Image oriented(const Image& image, int orientation) {
  if (orientation <= 1 || orientation > 8) { return image; }
  // What of the original a row of the result reads: a row, or from 5 on a column; and whether it runs backwards.
  const bool transposed = orientation >= 5;
  const bool right_to_left = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool bottom_up = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image out{transposed ? image.height : image.width, transposed ? image.width : image.height, std::vector<uint8_t>(image.rgb.size())};
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const int column = transposed ? y : x, row = transposed ? x : y;
      const int from_x = right_to_left ? image.width - 1 - column : column, from_y = bottom_up ? image.height - 1 - row : row;
      std::memcpy(&out.rgb[(size_t(y) * size_t(out.width) + size_t(x)) * 3],
                  &image.rgb[(size_t(from_y) * size_t(image.width) + size_t(from_x)) * 3], 3);
    }
  }
  return out;
}

}  // namespace pumice
