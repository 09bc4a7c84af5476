// What a LIMoE, or one of the models it is compared with, is: sizes, which blocks are sparse, and how their routers work. Values travel
// inside every checkpoint.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "pumice/moe/losses.h"
#include "pumice/moe/policy.h"
#include "pumice/ops/image/patchify.h"
#include "pumice/tensor/options.h"

namespace pumice {

enum class Architecture { limoe, two_tower, classifier };
enum class Loss { softmax, sigmoid };
enum class Pooling { mean, map, token };  // token: a class token before the patches, or the end-of-text token of a caption
enum class Positions { learned, sincos };

struct TowerConfig {  // one encoder
  int64_t depth = 0, width = 0, heads = 0, hidden = 0;
  std::vector<int64_t> moe_layers;
  bool causal = false;
  bool sparse(int64_t block) const;
};

struct ImageTextConfig {
  Architecture architecture = Architecture::limoe;
  std::string preset;              // where the values came from; empty when hand-made
  int64_t image_size = 64, patch = 8;
  int64_t text_length = 16;        // most tokens of a caption, end-of-text included
  int64_t vocabulary = 2048;
  int64_t depth = 4, width = 128, heads = 4, hidden = 512;
  int64_t embedding = 128;         // width of the joint space
  int64_t text_depth = 0, text_width = 0, text_heads = 0, text_hidden = 0;  // of the text tower of two; 0 = as the image tower
  std::vector<int64_t> text_moe_layers;
  bool causal_text = false;        // two towers: a word sees only those before it, as in CLIP
  Pooling image_pooling = Pooling::mean, text_pooling = Pooling::mean;
  Positions positions = Positions::learned;  // of patches
  Loss loss = Loss::softmax;       // over the batch, or over the classes of a classifier
  std::vector<std::string> classnames;  // of a classifier, from its training data
  std::vector<int64_t> moe_layers; // indices of the sparse blocks; empty for a dense model
  RouterOptions router;            // experts, experts per token, capacity, order, noise
  AuxOptions aux;                  // auxiliary losses of the sparse blocks
  bool sum_aux_over_layers = false;  // V-MoE sums; the default is the mean
  bool dense_twin = false;         // the sparse blocks hold one dense MLP of experts_per_token * hidden instead
  bool independent_experts = false;  // experts start as copies of one draw unless set
  int64_t group_examples = 128;    // routing groups are this many whole examples, images first
  double dropout = 0;
  double initial_temperature = 10; // logits are multiplied by exp(t), t = ln of this at the start
  double initial_bias = -10;       // sigmoid loss: added to logits at the start
  PixelScale pixels = {{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}};  // to [-1, 1]

  int64_t image_tokens() const { return (image_size / patch) * (image_size / patch) + (image_pooling == Pooling::token ? 1 : 0); }
  TowerConfig image_tower() const;  // also the one tower of a LIMoE
  TowerConfig text_tower() const;
  // Throws UsageError naming the field and what it must be.
  void validate() const;
};

// The same sizes as another architecture: two dense towers, or a classifier with the image tower's sparse blocks.
ImageTextConfig as_architecture(ImageTextConfig config, Architecture architecture);

// micro, tiny, small, medium; s32 s16 b32 b16 l16 h14. Throws UsageError listing the names, with the nearest one.
ImageTextConfig limoe_preset(const std::string& name);
std::vector<std::string> limoe_preset_names();

// Counts from the sizes alone; nothing is allocated. `active` leaves out the experts that a token does not visit.
struct ImageTextCost {
  int64_t parameters = 0, active_parameters = 0;
  double image_macs = 0, text_macs = 0;  // forward multiply-adds of one image and one full-length caption
};
ImageTextCost cost_of(const ImageTextConfig& config);
// Bytes for one optimizer step at a batch of `examples` per microbatch: weights, gradients, optimizer state, saved activations.
struct ImageTextMemory {
  double weights = 0, gradients = 0, optimizer = 0, activations = 0;
  double total() const { return weights + gradients + optimizer + activations; }
};
ImageTextMemory memory_of(const ImageTextConfig& config, int64_t examples, bool bf16, bool recompute);

// The model's options: flags of `pumice train limoe`, and the keys of a checkpoint's config.json.
void declare_model_options(OptionTable& table, ImageTextConfig& config);
std::string to_json(const ImageTextConfig& config);
// Throws FormatError naming `source` and the key.
ImageTextConfig image_text_config_from_json(const std::string& text, const std::string& source);

}  // namespace pumice
