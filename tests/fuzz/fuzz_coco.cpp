// Any text is a list of pictures with captions, or a FormatError.
#include <cstdlib>

#include "pumice/data/coco.h"
#include "pumice/tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    for (const auto& file : pumice::parse_caption_json({reinterpret_cast<const char*>(data), size}, "fuzz", "train")) {
      if (file.captions.empty()) { std::abort(); }
    }
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
