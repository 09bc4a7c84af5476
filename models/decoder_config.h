// What a language model is: sizes, and the few choices in which the families differ. Every family is one decoder with another description.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "pumice/models/rotary_scaling.h"
#include "pumice/moe/policy.h"

namespace pumice {

enum class NormKind { layer, rms };
enum class MlpKind { swiglu, gelu };  // down(silu(gate) up), or down(gelu_tanh(up))

struct DecoderConfig {
  std::string family = "llama";     // names of tensors and of fields in config.json: llama, mistral, qwen2, qwen, stablelm, phi
  int64_t vocabulary = 0, width = 0, layers = 0, hidden = 0;
  int64_t heads = 0, kv_heads = 0;  // queries; keys and values
  int64_t head_width = 0;
  int64_t positions = 2048;         // that the model was trained for; more are computed, as its rotary embedding extends
  bool fixed_positions = false;     // more are an error: they would need what is not computed (Qwen-1's log-n attention and its own NTK scaling)
  NormKind norm = NormKind::rms;
  double norm_eps = 1e-6;
  MlpKind mlp = MlpKind::swiglu;
  bool parallel = false;            // x + attention(h) + mlp(h) of one norm h (GPT-J, Phi); else one after the other, each with its norm
  int64_t rotary = 0;               // elements of a head that are rotated
  double rotary_theta = 10000;
  RotaryScaling scaling;            // beyond the length that the model was trained for
  int64_t window = 0;               // sliding window of attention; 0: all
  int64_t window_from = 0;          // the first layer that has it
  bool qkv_bias = false, out_bias = false, mlp_bias = false, head_bias = false;
  bool tied = false;                // the head is the embedding

  std::vector<int64_t> moe_layers;  // sparse layers, rising
  std::vector<int64_t> experts;     // of each of them
  RouterOptions router = {.order = Order::position, .train = {.factor = 1.5, .multiple_of = 1}, .eval = {.factor = 2, .multiple_of = 1},
                          .noise_std = 0};  // `experts` apart
  bool residual_moe = false;        // beside the experts a dense MLP: softmax(coefficient(x)) weighs the two (Rajbhandari et al. 2022, arXiv:2201.05596)
  double aux_weight = 0.01;         // of the sum of the sparse layers' balance losses

  int64_t experts_of(int64_t layer) const;  // 0 in a dense layer
  // Whether a text of up to `length` tokens may be read into a cache in pieces: what becomes of a token depends on those before it alone. Not where an
  // expert may have fewer places than there are tokens (how many are dropped depends on how many come at once), nor beyond the trained length under
  // dynamic scaling (the angles depend on the length).
  bool reads_in_pieces(int64_t length) const;
  // Throws UsageError naming the field and what it must be.
  void validate() const;
  void validate_sizes() const;  // the part of it that layers need before they are made sparse
};

// Counts from the sizes alone. `active`: what one token uses.
struct DecoderCost {
  int64_t parameters = 0, active_parameters = 0;
};
DecoderCost cost_of(const DecoderConfig& config);

// first_half, second_half, sparse (0, 2, 4, ...), dense (all): MoE-LLaVA's names. Throws UsageError for another.
std::vector<int64_t> moe_layers_of(const std::string& mode, int64_t layers);

}  // namespace pumice
