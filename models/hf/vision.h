// Vision towers as Hugging Face's files describe and name them: clip_vision_model and siglip_vision_model, alone, inside of a clip or siglip model,
// or inside of a LLaVA.
#pragma once
#include <memory>
#include <string>

#include "pumice/models/hf/bind.h"
#include "pumice/models/vision_tower.h"

namespace pumice {

// From a config.json of one of those model types, or one whose "vision_config" is. Throws FormatError naming `source` and the field.
VisionConfig vision_config_from_hf(const std::string& json, const std::string& source);

// The tensor of a parameter of a tower (without the path of its scope), behind `prefix`, such as "vision_model.".
HfTensor hf_vision_tensor(const std::string& parameter, const std::string& prefix);

// Tensors that stand beside a tower in its files and are not part of it: what pools tokens into one vector, a text tower.
bool is_beside_tower(const std::string& tensor);

// A tower for use over the mapped files of a directory. The store owns its parameters.
struct OpenVisionTower {
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<VisionTower> tower;
};
OpenVisionTower open_vision_tower(const std::string& directory);

}  // namespace pumice
