// Weights under Hugging Face's names: of a model as it is, and of a dense one whose MLPs become experts.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "pumice/models/hf/bind.h"
#include "pumice/models/hf/llava.h"

namespace pumice {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

// Every parameter under the name that `locate` gives it, in `dtype`: what bind_weights() reads.
NamedTensors hf_tensors(const ParameterStore& parameters, const Locate& locate, DType dtype);

// The decoder of a config.json that describes one alone, or beside a vision tower.
DecoderConfig text_config_of(const std::string& json, const std::string& source);

// The tensors of a dense model as a sparse one's (Komatsuzaki et al. 2023, arXiv:2212.05055; the third stage of MoE-LLaVA): in every sparse layer of
// `sparse` the MLP stands once per expert, beside a fresh router U(-1 / sqrt(C), 1 / sqrt(C)) in f32; all others stay as they are. Nothing is copied:
// experts share their rows. Throws FormatError when an MLP is missing.
NamedTensors upcycled_tensors(const NamedTensors& dense, const DecoderConfig& sparse, uint64_t seed);

struct MoeSettings {
  std::string mode = "sparse";        // moe_layers_of(), unless layers are named
  std::vector<int64_t> layers;
  std::vector<int64_t> experts = {4}; // one number, or one per sparse layer
  int64_t experts_per_token = 2;
  double capacity_factor = 1.5, eval_capacity_factor = 2;
  int64_t min_capacity = 0;
  bool residual = false;
  double aux_weight = 0.01;
  std::string gate = "default";       // set_gate(); what is named below overrides it
  std::string order, second_choice, gates;
};
// config.json of the sparse model: the dense one's with "moe" as MoE-LLaVA writes it and its model_type. "moe" has three fields more, which say what
// DeepSpeed has no choice in: "order", "second_choice" and "gates", named as in moe/policy.h. Throws FormatError naming `source`, and UsageError when
// it is sparse already or the gate's settings do not fit one another.
std::string upcycled_config(const std::string& json, const std::string& source, const MoeSettings& moe);

}  // namespace pumice
