// Any text is an index whose files are plain names in its directory, or a FormatError.
#include "pumice/tensor/error.h"
#include "pumice/tensor/weight_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    for (const auto& [name, file] : pumice::parse_weight_index({reinterpret_cast<const char*>(data), size}, "fuzz")) {
      if (file.empty() || file == ".." || file.find('/') != std::string::npos) { __builtin_trap(); }
    }
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
