// A language model that sees, out of one that does not, a vision tower and a projector: what the first stage of LLaVA's training starts from.
#pragma once
#include <string>

#include "pumice/models/hf/llava_layout.h"

namespace pumice {

struct AssembleSettings {
  std::string layout = "llava";   // names of tensors: llava, moe_llava, hf (Transformers')
  std::string projector;          // linear, mlpNx_gelu; "": that of the weights, or mlp2x_gelu. Transformers knows mlp2x_gelu alone
  std::string projector_weights;  // a file or directory that read_projector() takes; "": drawn
  int64_t vision_layer = -2;      // whose hidden states are read
  int32_t image_token = -1;       // Transformers' layout: the id that stands for a picture's tokens; behind the last row, there will be more
  uint64_t seed = 0;              // of a projector that is drawn
};

// `decoder`: a directory as Hugging Face writes it. `tower`: what open_vision_tower() reads. All that the two hold stays as it is and where it is, in
// their mapped files, but for an embedding and a head that get rows; a drawn projector is f32. A SigLIP tower keeps its first patch. Throws FormatError
// where a directory is not what it should be or its weights do not fit, UsageError where the settings do not fit them or require_describable() does.
LlavaFiles assemble_llava(const std::string& decoder, const std::string& tower, const AssembleSettings& settings);

}  // namespace pumice
