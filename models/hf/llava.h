// LLaVA checkpoints in the three layouts that they come in: Transformers' (llava), LLaVA-1.5's own (llava_llama, ...), and MoE-LLaVA's
// (moe_llava_phi, ...; llava_phi, ... before its last stage).
#pragma once
#include <string>

#include "pumice/models/hf/bind.h"
#include "pumice/models/llava.h"
#include "pumice/tensor/weight_files.h"

namespace pumice {

// Whether a config.json describes a model that sees: it has a vision tower, or names one.
bool is_llava_config(const std::string& json, const std::string& source);

// `vision`: what describes the tower where config.json only names it (all but Transformers' layout). Throws FormatError naming `source` and the field.
LlavaConfig llava_config_from_hf(const std::string& json, const std::string& source, const VisionConfig& vision);

// The same of a directory whose tower is found as open_llava() finds it; `tower` receives its directory, "" for none.
LlavaConfig read_llava_config(const std::string& directory, std::string& tower);

// The directory inside of a model's that its config.json names as its tower, relative to it; "" where it names none that is there.
std::string tower_inside(const std::string& directory);

// Layers of a projector of this type, "linear" or "mlpNx_gelu" with N >= 2; 0 for one that is unknown.
int64_t projector_layers_of(const std::string& type);

// Where each parameter stands in a checkpoint of config.layout, the tower's behind tower_prefix_of().
std::vector<HfTensor> hf_llava_tensors(const LlavaConfig& config, const std::string& parameter);
std::string tower_prefix_of(const LlavaConfig& config);
// Whether the weights of the tower are among these, or in a directory of their own.
bool holds_tower(const LlavaConfig& config, const WeightFiles& weights);

// For use, over mapped files. `tower`: the directory of the vision tower, or "" for what config.json names: Transformers' layout needs none; a relative
// directory inside of the model; or openai/clip-vit-large-patch14-336 and google/siglip-so400m-patch14-384, whose sizes are known, when the checkpoint
// holds the tower's weights itself, as MoE-LLaVA's do. A tower may be a run of ours. Throws IoError, FormatError.
Llava open_llava(const std::string& directory, const std::string& tower = "");

}  // namespace pumice
