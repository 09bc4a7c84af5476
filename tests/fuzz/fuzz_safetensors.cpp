// Any bytes make a header whose tensors lie inside the file, or a FormatError.
#include "pumice/tensor/error.h"
#include "pumice/tensor/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    pumice::SafetensorsHeader h = pumice::parse_safetensors({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const auto& e : h.entries) {
      if (e.end > size - h.data_start || e.begin > e.end) { __builtin_trap(); }
    }
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
