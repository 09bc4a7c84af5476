// Any config.json and preprocessor_config.json of somebody else's is a description that holds together, or a FormatError.
#include <cstdlib>

#include "pumice/data/picture_input.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/vision.h"
#include "pumice/models/hf/weights.h"
#include "pumice/models/hf/write.h"
#include "pumice/tensor/error.h"

namespace {

template <class F> void either(const F& f) {
  try {
    f();
  } catch (const pumice::FormatError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  either([&] {
    const pumice::DecoderConfig c = pumice::decoder_config_from_hf(text, "fuzz");
    const pumice::DecoderCost cost = pumice::cost_of(c);
    if (cost.parameters < 1 || cost.active_parameters < 1) { std::abort(); }
    if (c.layers * c.heads < 4096) { pumice::hf_tensors_of(c, "embedding.weight"); }
    try {
      pumice::upcycled_config(text, "fuzz", {});
    } catch (const pumice::UsageError&) {  // sparse already
    }
  });
  either([&] { pumice::vision_config_from_hf(text, "fuzz"); });
  either([&] {
    if (pumice::is_llava_config(text, "fuzz")) {
      const pumice::LlavaConfig c = pumice::llava_config_from_hf(text, "fuzz", {.image_size = 56, .patch = 14, .width = 8, .layers = 2, .heads = 2, .hidden = 8});
      if (c.image_tokens() < 1) { std::abort(); }
    }
  });
  either([&] { pumice::picture_input_from_hf(text, "fuzz"); });
  return 0;
}
