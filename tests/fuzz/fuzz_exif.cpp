// Any bytes have an orientation from 1 to 8.
#include "pumice/data/exif.h"

#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int orientation = pumice::exif_orientation({reinterpret_cast<const char*>(data), size});
  if (orientation < 1 || orientation > 8) { std::abort(); }
  const pumice::Image image{2, 1, {1, 2, 3, 4, 5, 6}};
  if (pumice::oriented(image, orientation).rgb.size() != image.rgb.size()) { std::abort(); }
  return 0;
}
