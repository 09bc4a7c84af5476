// Any bytes make tensors that lie inside the file, or a FormatError; as a whole file, and as a pickle alone.
#include "pumice/tensor/error.h"
#include "pumice/tensor/pickle.h"
#include "pumice/tensor/torch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    for (const auto& e : pumice::parse_torch_file(bytes, "fuzz").entries) {
      if (e.end > size || e.begin > e.end) { __builtin_trap(); }
    }
  } catch (const pumice::FormatError&) {
  }
  try {
    constexpr std::string_view callables[] = {"collections.OrderedDict", "torch._utils._rebuild_tensor_v2"};
    size_t at = 0;
    const pumice::Pickle p = pumice::Pickle::parse(bytes, at, callables, "fuzz");
    if (at > size) { __builtin_trap(); }
    for (pumice::Pickle::Ref r = 0; r < p.size(); ++r) {
      for (pumice::Pickle::Ref item : p.items(r)) {
        if (item >= p.size()) { __builtin_trap(); }
      }
    }
  } catch (const pumice::FormatError&) {
  }
  return 0;
}
