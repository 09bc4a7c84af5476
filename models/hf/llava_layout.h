// What the three layouts of a model that sees (llava.h) write into config.json, and what they cannot describe.
#pragma once
#include <string>

#include "pumice/models/hf/write.h"
#include "pumice/models/llava.h"

namespace pumice {

inline constexpr const char* kTowerInside = "vision_tower";
// A model that sees, as a directory holds it.
struct LlavaFiles {
  std::string config;                      // config.json
  NamedTensors tensors;                    // the tower's as well, where the checkpoint holds it
  std::string tower_place = kTowerInside;  // a directory of the tower's own, inside of the model: its config.json, "" where there is no such directory,
  std::string tower_config;                // and its weights, none where the checkpoint holds them
  NamedTensors tower;
  std::string tower_read;                  // the directory that the tower came from; "" where it came out of a checkpoint
};

// Throws UsageError where Transformers' layout has no projector of so many layers.
void require_projector(const LlavaConfig& config);

// Throws UsageError unless `config.layout`, which must be one of the three, can describe the model: in Transformers' neither a tower of our own nor
// experts, Qwen-1, a head with a bias (Phi) or another projector than mlp2x_gelu; in LLaVA's no experts. `image_token`: of Transformers' layout, the
// id that stands for a picture, at most the vocabulary.
void require_describable(const LlavaConfig& config, int32_t image_token);

// Of a directory that sees: the config.json of its decoder, in LLaVA's layouts with what those add to it, where it is no more than fields beside others.
std::string decoder_part(const std::string& json, const std::string& source);
// The config.json of its tower alone, where `json` may describe more. `tensors`: of the tower; a SigLIP without the attention pooling that Transformers
// expects says so.
std::string tower_part(const std::string& json, const std::string& source, const VisionConfig& vision, const NamedTensors& tensors);
// The same of a tower of which only the sizes are known.
std::string tower_config_of(const VisionConfig& vision, const NamedTensors& tensors);

// The inverse of llava_config_from_hf(): config.json in the layout of `config`.
struct LlavaParts {
  std::string decoder, tower;      // config.json of each
  std::string tower_name;          // for LLaVA's and MoE-LLaVA's: where the tower lies
  int32_t image_token = -1;        // for Transformers'
  std::string image_aspect_ratio;  // "" to leave it out
};
std::string llava_config_to_hf(const LlavaConfig& config, const LlavaParts& parts);

// A decoder gets rows for a picture's id where it has none: up to a multiple of 64.
int64_t rows_with_image_token(int64_t vocabulary, int32_t image_token);
// An embedding or a head with more rows, each the mean of the others: in a head it is then never the most probable token.
Tensor with_rows(const Tensor& table, int64_t rows);

// "torch_dtype" of a config.json and of what it holds, as weights were written.
std::string with_dtype(const std::string& json, const std::string& source, DType dtype);

}  // namespace pumice
