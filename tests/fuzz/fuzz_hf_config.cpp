// Any config.json and preprocessor_config.json of somebody else's is a description that holds together, or a FormatError.
#include <algorithm>
#include <cstdlib>

#include "pumice/data/picture_input.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/fields.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/llava_layout.h"
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
  try {
    pumice::parse_hf_object(text, "fuzz");
  } catch (const pumice::FormatError&) {  // what is no object is refused here by all of them: once is enough
    return 0;
  }
  either([&] {
    const pumice::DecoderConfig c = pumice::decoder_config_from_hf(text, "fuzz");
    const pumice::DecoderCost cost = pumice::cost_of(c);
    if (cost.parameters < 1 || cost.active_parameters < 1) { std::abort(); }
    if (c.layers * c.heads < 4096) { pumice::hf_tensors_of(c, "embedding.weight"); }
    pumice::scaled_frequencies(std::min<int64_t>(c.rotary, 256), c.rotary_theta, c.scaling, 2 * c.positions);
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
      // written in another layout it can be read again, or that layout cannot describe it
      pumice::LlavaConfig to = c;
      to.layout = c.layout == "hf" ? "moe_llava" : "hf";
      try {
        pumice::require_describable(to, 0);
      } catch (const pumice::UsageError&) {
        return;
      }
      const std::string decoder = pumice::with_dtype(pumice::decoder_part(text, "fuzz"), "fuzz", pumice::DType::bf16);
      const std::string tower = c.layout == "hf" ? pumice::tower_part(text, "fuzz", c.vision, {}) : pumice::vision_config_to_hf(c.vision);
      const std::string other = pumice::llava_config_to_hf(to, {.decoder = decoder, .tower = tower, .tower_name = "x", .image_token = 0});
      if (pumice::llava_config_from_hf(other, "other", c.vision).image_tokens() != c.image_tokens()) { std::abort(); }
    }
  });
  either([&] { pumice::picture_input_from_hf(text, "fuzz"); });
  return 0;
}
