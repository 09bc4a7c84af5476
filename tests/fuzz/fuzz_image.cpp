// Any bytes make a whole picture or a FormatError.
#include "pumice/data/image.h"
#include "pumice/tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    pumice::Image image = pumice::decode_image({reinterpret_cast<const char*>(data), size}, "fuzz", {.max_pixels = 1 << 16});
    if (image.rgb.size() != size_t(image.width) * size_t(image.height) * 3) { __builtin_trap(); }
    pumice::resize_and_crop(image, 8);
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
