// Any bytes make an index or a FormatError.
#include "pumice/data/tar.h"
#include "pumice/tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    for (const pumice::TarEntry& e : pumice::read_tar_index(bytes, "fuzz").entries) {
      if (e.offset > size || e.size > size - e.offset) { __builtin_trap(); }
    }
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
