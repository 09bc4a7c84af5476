// Any bytes decompress to no more than the limit, and what comes out is an archive or not; or a FormatError.
#include <cstdlib>

#include "pumice/data/gzip.h"
#include "pumice/data/tar.h"
#include "pumice/tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint64_t kLimit = 1 << 16;
  try {
    const std::string bytes = pumice::gunzip({reinterpret_cast<const char*>(data), size}, "fuzz", kLimit);
    if (bytes.size() > kLimit) { std::abort(); }
    for (const pumice::TarEntry& e : pumice::read_tar_index(bytes, "fuzz").entries) {
      if (e.offset > bytes.size() || e.size > bytes.size() - e.offset) { std::abort(); }
    }
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
