#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
#include <cstring>

#include <jpeglib.h>
#include <png.h>

#include "pumice/data/exif.h"
#include "pumice/data/image_formats.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file_kind.h"

namespace pumice {
namespace {

// libjpeg and libpng leave their callbacks by longjmp, which must not skip destructors: everything that owns memory lives in the
// caller's frame and is declared before setjmp.

// ---- JPEG

struct JpegError {
  jpeg_error_mgr manager;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

void jpeg_fail(j_common_ptr info) {
  JpegError* error = reinterpret_cast<JpegError*>(info->err);
  info->err->format_message(info, error->message);
  std::longjmp(error->jump, 1);
}
void jpeg_warn(j_common_ptr info, int level) {
  if (level < 0) { jpeg_fail(info); }  // corrupt data, above all a premature end
}

Image decode_jpeg(std::string_view bytes, const std::string& name, const DecodeOptions& options) {
  Image image;
  std::vector<uint8_t> row;
  jpeg_decompress_struct info;
  JpegError error;
  info.err = jpeg_std_error(&error.manager);
  error.manager.error_exit = jpeg_fail;
  error.manager.emit_message = jpeg_warn;
  if (setjmp(error.jump)) {
    jpeg_destroy_decompress(&info);
    broken_image(name, "JPEG", error.message);
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&info, TRUE);
  image.width = int(info.image_width);
  image.height = int(info.image_height);
  try {
    require_image_size(name, image.width, image.height, options);
  } catch (...) {
    jpeg_destroy_decompress(&info);
    throw;
  }
  const bool cmyk = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  info.out_color_space = cmyk ? JCS_CMYK : info.jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
  const bool adobe_inverted = info.saw_Adobe_marker;
  jpeg_start_decompress(&info);
  const int channels = info.output_components;
  image.rgb.resize(size_t(image.width) * size_t(image.height) * 3);
  row.resize(size_t(image.width) * size_t(channels));
  while (info.output_scanline < info.output_height) {
    uint8_t* to = image.rgb.data() + size_t(info.output_scanline) * size_t(image.width) * 3;
    uint8_t* line = channels == 3 ? to : row.data();
    jpeg_read_scanlines(&info, &line, 1);
    for (int x = 0; channels != 3 && x < image.width; ++x) {
      if (channels == 1) { to[3 * x] = to[3 * x + 1] = to[3 * x + 2] = line[x]; }
      else {
        for (int c = 0; c < 3; ++c) {  // Pillow: 255 - clip(c + k (255 - c) / 255), on ink values; Adobe stores them inverted
          int ink = adobe_inverted ? 255 - line[4 * x + c] : line[4 * x + c], black = adobe_inverted ? 255 - line[4 * x + 3] : line[4 * x + 3];
          int t = ink * (255 - black) + 128, product = ((t >> 8) + t) >> 8;
          int value = 255 - black - product;
          to[3 * x + c] = uint8_t(value < 0 ? 0 : value);
        }
      }
    }
  }
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
  return image;
}

// ---- PNG

struct PngSource {
  const char* at;
  size_t left;
};
struct PngError {
  std::string message;
};

void png_fail(png_structp png, png_const_charp message) {
  static_cast<PngError*>(png_get_error_ptr(png))->message = message;
  png_longjmp(png, 1);
}
void png_ignore(png_structp, png_const_charp) {}
void png_feed(png_structp png, png_bytep to, size_t count) {
  PngSource* source = static_cast<PngSource*>(png_get_io_ptr(png));
  if (count > source->left) { png_error(png, "the file ends too early"); }
  std::memcpy(to, source->at, count);
  source->at += count;
  source->left -= count;
}

Image decode_png(std::string_view bytes, const std::string& name, const DecodeOptions& options) {
  Image image;
  std::vector<png_bytep> rows;
  std::vector<uint8_t> deep;  // of 16-bit grey, before it is cut down
  PngError error;
  PngSource source{bytes.data(), bytes.size()};
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &error, png_fail, png_ignore);
  png_infop info = png_create_info_struct(png);
  if (setjmp(png_jmpbuf(png))) {
    png_destroy_read_struct(&png, &info, nullptr);
    broken_image(name, "PNG", error.message);
  }
  png_set_read_fn(png, &source, png_feed);
  png_read_info(png, info);
  image.width = int(png_get_image_width(png, info));
  image.height = int(png_get_image_height(png, info));
  try {
    require_image_size(name, image.width, image.height, options);
  } catch (...) {
    png_destroy_read_struct(&png, &info, nullptr);
    throw;
  }
  const int colour = png_get_color_type(png, info), depth = png_get_bit_depth(png, info);
  if (colour == PNG_COLOR_TYPE_PALETTE) { png_set_palette_to_rgb(png); }
  if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) { png_set_expand_gray_1_2_4_to_8(png); }
  const bool deep_grey = colour == PNG_COLOR_TYPE_GRAY && depth == 16;
  if (depth == 16 && !deep_grey) { png_set_strip_16(png); }
  // a palette with transparent entries is expanded to RGBA
  if ((colour & PNG_COLOR_MASK_ALPHA) || (colour == PNG_COLOR_TYPE_PALETTE && png_get_valid(png, info, PNG_INFO_tRNS))) { png_set_strip_alpha(png); }
  if (!(colour & PNG_COLOR_MASK_COLOR) && !deep_grey) { png_set_gray_to_rgb(png); }
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  const size_t stride = size_t(image.width) * 3;
  const size_t row_bytes = deep_grey ? size_t(image.width) * 2 : stride;
  if (png_get_rowbytes(png, info) != row_bytes) { png_error(png, "an unexpected pixel layout"); }
  image.rgb.resize(stride * size_t(image.height));
  rows.resize(size_t(image.height));
  if (deep_grey) { deep.resize(row_bytes * size_t(image.height)); }
  for (int y = 0; y < image.height; ++y) { rows[size_t(y)] = (deep_grey ? deep.data() : image.rgb.data()) + size_t(y) * row_bytes; }
  png_read_image(png, rows.data());
  png_read_end(png, nullptr);
  png_destroy_read_struct(&png, &info, nullptr);
  for (size_t i = 0; i < deep.size() / 2; ++i) {  // Pillow reads whole numbers and cuts them off at 255
    const uint8_t grey = deep[2 * i] ? 255 : deep[2 * i + 1];
    image.rgb[3 * i] = image.rgb[3 * i + 1] = image.rgb[3 * i + 2] = grey;
  }
  return image;
}

}  // namespace

void broken_image(const std::string& name, const char* format, const std::string& why) {
  throw FormatError(concat_text("[image] ", name, " is not a readable ", format, ": ", why, ". Replace or remove the file"), __FILE__, __LINE__);
}

void require_image_size(const std::string& name, int64_t width, int64_t height, const DecodeOptions& options) {
  REQUIRE(FormatError, width > 0 && height > 0, "[image] ", name, " is empty: ", width, " x ", height, " pixels");
  REQUIRE(FormatError, height <= options.max_pixels / width, "[image] ", name, " is ", width, " x ", height, " pixels, more than the limit of ",
          options.max_pixels, ". Shrink the picture");
}

namespace {

Image decode_as_stored(std::string_view bytes, const std::string& name, const DecodeOptions& options) {
  if (bytes.substr(0, 8) == std::string_view("\x89PNG\r\n\x1a\n", 8)) { return decode_png(bytes, name, options); }
  if (bytes.substr(0, 3) == "\xff\xd8\xff") { return decode_jpeg(bytes, name, options); }
  if (bytes.size() >= 12 && bytes.substr(0, 4) == "RIFF" && bytes.substr(8, 4) == "WEBP") { return decode_webp(bytes, name, options); }
  const std::string kind = kind_of_file(bytes);
  throw FormatError(
      concat_text("[image] ", name, kind.empty() ? " starts with unknown bytes" : " is " + kind, "; a PNG, JPEG or WebP picture is required"),
      __FILE__, __LINE__);
}

}  // namespace

Image decode_image(std::string_view bytes, const std::string& name, const DecodeOptions& options) {
  Image image = decode_as_stored(bytes, name, options);
  const int orientation = options.exif_orientation ? exif_orientation(bytes) : 1;
  return orientation == 1 ? image : oriented(image, orientation);
}

}  // namespace pumice
