// Vision towers as files describe and name them: Hugging Face's clip_vision_model and siglip_vision_model, alone, inside of a clip or siglip model,
// or inside of a LLaVA; and the checkpoints of our own runs.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pumice/models/hf/bind.h"
#include "pumice/models/image_tower.h"
#include "pumice/tensor/weight_files.h"

namespace pumice {

// From a config.json of one of those model types, or one whose "vision_config" is. Throws FormatError naming `source` and the field.
VisionConfig vision_config_from_hf(const std::string& json, const std::string& source);

// The inverse, for a tower alone and one of theirs.
std::string vision_config_to_hf(const VisionConfig& config);

// What a directory is, its config.json tells and never its name: one of those, or, where that has an "architecture", a run or a checkpoint of ours.
// tower_directory() is where its config.json and weights lie: the directory itself, or the checkpoint that a run means. Throws IoError.
std::string tower_directory(const std::string& given);
// Of such a directory. Throws FormatError, also when it is neither.
VisionConfig read_vision_config(const std::string& directory);

// The tensor of a parameter of a tower (without the path of its scope), behind `prefix`: "vision_model." and their name for it, or in a run of ours
// the parameter's own.
HfTensor tower_tensor(const VisionConfig& config, const std::string& parameter, const std::string& prefix);

// Tensors that stand beside a tower in its files and are not part of it: what pools tokens into one vector, a text tower.
bool is_beside_tower(const VisionConfig& config, const std::string& tensor);

// The tower's tensors by their names in files of a tower alone: all that is read of it, and SigLIP's pooling behind it, which Transformers wants, where it
// is there. `prefix`: what stands before the names in `files`.
std::vector<std::pair<std::string, Tensor>> tower_tensors(const VisionConfig& config, const WeightFiles& files, const std::string& prefix);

// A tower for use over the mapped files of what `given` names. The store owns its parameters.
struct OpenVisionTower {
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<ImageTower> tower;
};
OpenVisionTower open_vision_tower(const std::string& given);

}  // namespace pumice
