// A projector alone: what the first stage of LLaVA's training leaves.
#pragma once
#include <string>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

inline constexpr const char* kProjectorFile = "mm_projector.safetensors";

struct ProjectorWeights {
  struct Part {
    std::string name, parameter;  // in the file; "projector.0.weight", "projector.0.bias", "projector.2.weight", ...
    Tensor value;
  };
  int64_t layers = 0;  // 1: linear; N: mlpNx_gelu
  std::vector<Part> parts;
};

// `path`: a file, or a directory with mm_projector.safetensors or mm_projector.bin, or with a whole model that sees. Tensors are known by their names in
// any of the three layouts, whatever stands before "mm_projector."; others are left alone. Throws IoError, and FormatError naming `path` where there is
// no projector, a layer of it is missing, or widths do not follow one another.
ProjectorWeights read_projector(const std::string& path);

}  // namespace pumice
