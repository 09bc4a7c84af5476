// Any text is a table of counts, none negative, or a FormatError.
#include <cstdlib>

#include "pumice/data/shard_sizes.h"
#include "pumice/tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    for (const auto& [shard, count] : pumice::parse_shard_sizes({reinterpret_cast<const char*>(data), size}, "fuzz")) {
      if (count < 0) { std::abort(); }
    }
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
