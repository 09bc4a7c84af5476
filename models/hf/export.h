// A model written for others: a language model that sees in another layout, or its projector alone.
#pragma once
#include <string>

#include "pumice/models/hf/llava_layout.h"

namespace pumice {

struct ExportSettings {
  std::string layout;        // of a model that sees: llava, moe_llava, hf (Transformers'); "": as it is
  int32_t image_token = -1;  // as in AssembleSettings, where Transformers' layout is a new one
};

// `directory` and `tower`: what open_llava() reads; all tensors must be there and fit. Nothing is copied but an embedding and a head that get rows. The
// tower comes along in the checkpoint where it lies in it, and into one in Transformers' layout; a tower in a directory of its own stays there, and out of
// a checkpoint in Transformers' layout it goes to kTowerInside. Throws what open_llava() and require_describable() throw.
LlavaFiles export_llava(const std::string& directory, const std::string& tower, const ExportSettings& settings);

// A language model that reads text: its tensors, without what others leave beside them. Throws what open_decoder() throws.
NamedTensors export_decoder(const std::string& directory);

// The projector of a model that sees, under the names of `layout` ("": as they are). Throws UsageError where that cannot describe it.
NamedTensors export_projector(const std::string& directory, const std::string& tower, const std::string& layout);

}  // namespace pumice
