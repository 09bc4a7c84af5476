#include <png.h>

#include "pumice/data/image.h"
#include "pumice/tensor/error.h"

namespace pumice {

std::string encode_png(const Image& image) {
  png_image png = {};
  png.version = PNG_IMAGE_VERSION;
  png.width = png_uint_32(image.width);
  png.height = png_uint_32(image.height);
  png.format = PNG_FORMAT_RGB;
  png.flags = PNG_IMAGE_FLAG_FAST;  // pictures for training are read far more often than they are stored
  png_alloc_size_t size = 0;
  bool ok = png_image_write_to_memory(&png, nullptr, &size, 0, image.rgb.data(), 0, nullptr) != 0;
  std::string bytes(size, '\0');
  ok = ok && png_image_write_to_memory(&png, bytes.data(), &size, 0, image.rgb.data(), 0, nullptr) != 0;
  REQUIRE(IoError, ok, "[image] a picture of ", image.width, " x ", image.height, " cannot be encoded: ", png.message);
  bytes.resize(size);
  return bytes;
}

}  // namespace pumice
