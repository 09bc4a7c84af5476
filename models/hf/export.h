// A model written for others: a language model that sees in another layout, or its projector alone.
#pragma once
#include <optional>
#include <string>

#include "pumice/models/hf/llava_layout.h"

namespace pumice {

struct ExportSettings {
  std::string layout;           // of a model that sees: llava, moe_llava, hf (Transformers'); "": as it is
  int32_t image_token = -1;     // as in AssembleSettings, where Transformers' layout is a new one
  std::optional<DType> dtype;   // that the weights will be written in, for config.json; unset: as they are
};

// `directory` and `tower`: what open_llava() reads; all tensors must be there and fit. Nothing is copied but an embedding and a head that get rows. Where
// the tower lies stays as it is: in the checkpoint, in a directory inside of the model, or elsewhere, when it is not written; but in Transformers' layout
// it is in the checkpoint, and out of that layout it goes to kTowerInside. Throws what open_llava() and require_describable() throw.
LlavaFiles export_llava(const std::string& directory, const std::string& tower, const ExportSettings& settings);

// A language model that reads text: its tensors, without what others leave beside them. Throws what open_decoder() throws.
NamedTensors export_decoder(const std::string& directory);

// The projector of what read_projector() reads, under the names of `layout`, or as they are where that is "". Throws UsageError where the layout has none
// of so many layers.
NamedTensors export_projector(const std::string& path, const std::string& layout);

}  // namespace pumice
