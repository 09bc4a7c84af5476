// A language model that sees, out of one that does not, a vision tower and a new projector: what the first stage of LLaVA's training starts from.
#pragma once
#include <string>

#include "pumice/models/hf/write.h"

namespace pumice {

struct AssembleSettings {
  std::string layout = "llava";          // names of tensors: llava, moe_llava, hf (Transformers')
  std::string projector = "mlp2x_gelu";  // linear, mlpNx_gelu; Transformers knows mlp2x_gelu alone
  int64_t vision_layer = -2;             // whose hidden states are read
  int32_t image_token = -1;              // Transformers' layout: the id that stands for a picture's tokens; behind the last row, there will be more
  uint64_t seed = 0;                     // of the projector
};

struct AssembledLlava {
  std::string config;        // config.json
  NamedTensors tensors;      // decoder and projector; in Transformers' layout the tower as well
  std::string tower_config;  // else the tower's config.json and weights, for the directory kTowerInside of the model
  NamedTensors tower;
};
inline constexpr const char* kTowerInside = "vision_tower";

// `decoder`: a directory as Hugging Face writes it. `tower`: what open_vision_tower() reads. All that the two hold stays as it is and where it is, in
// their mapped files, but for an embedding and a head that get rows; the projector is f32. A SigLIP tower keeps its first patch. Throws FormatError
// where a directory is not what it should be or its weights do not fit, UsageError where the settings do not fit them: a tower of our own, experts,
// Qwen-1 or a head with a bias (Phi) in Transformers' layout, experts in LLaVA's.
AssembledLlava assemble_llava(const std::string& decoder, const std::string& tower, const AssembleSettings& settings);

}  // namespace pumice
