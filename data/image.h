// Pictures: decoded to RGB, resized bit for bit as Pillow does, encoded as PNG.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;  // (height, width, 3), row-major
};

struct DecodeOptions {
  int64_t max_pixels = 25'000'000;  // checked against the header, before anything is allocated or decoded
  bool exif_orientation = false;    // turn the picture as its EXIF data says, as PIL.ImageOps.exif_transpose does
};

// PNG, JPEG or WebP, told apart by their first bytes, as Pillow's open(...).convert("RGB") gives them: alpha is dropped, grey is
// repeated, 16-bit colour keeps its upper bytes while 16-bit grey is cut off at 255, CMYK is inverted and multiplied, an animation is its
// first frame, EXIF is ignored unless asked for; all of that before any resizing. Throws FormatError naming `name`, what was found and what to try; a
// truncated file is an error, never a half-grey picture.
Image decode_image(std::string_view bytes, const std::string& name, const DecodeOptions& options = {});
bool reads_webp();  // whether this build has libwebp

enum class Filter { bilinear, bicubic };
// Pillow's resampling for 8-bit channels: separable, antialiased, fixed-point, width first. Equal bit for bit to Pillow 9 to 12, with
// which CLIP's descendants were trained; Pillow 13 resizes some tall pictures height first and may differ from them by a few levels.
Image resize(const Image& image, int width, int height, Filter filter = Filter::bicubic);
// CLIP's evaluation transform: the shorter edge to `size` (the other truncated), then the centre, as torchvision rounds it.
Image resize_and_crop(const Image& image, int size);

// A PNG of 8-bit RGB; equal pictures give equal bytes. Throws IoError.
std::string encode_png(const Image& image);

}  // namespace pumice
