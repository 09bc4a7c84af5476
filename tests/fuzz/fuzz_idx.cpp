// Any bytes are pictures or labels whose counts fit the bytes, or a FormatError.
#include <cstdlib>

#include "pumice/data/idx.h"
#include "pumice/tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    pumice::IdxImages images = pumice::parse_idx_images(bytes, "fuzz");
    if (int64_t(images.pixels.size()) != images.count * images.height * images.width) { std::abort(); }
    if (images.count > 0 && images.pixels.size() < 4096) { pumice::idx_picture(images, images.count - 1); }
  } catch (const pumice::FormatError&) {
  }
  try {
    pumice::parse_idx_labels(bytes, "fuzz");
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
