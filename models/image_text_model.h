// What the models of images and text have in common: their input, their output, and how they are made from a configuration. LIMoE is
// one tower for both (limoe.h), CLIP and LiT are one tower each (two_tower.h), V-MoE reads images and names a class (classifier.h).
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pumice/models/image_text_config.h"
#include "pumice/moe/routing.h"
#include "pumice/moe/stats.h"
#include "pumice/nn/parameter.h"

namespace pumice {

// Where the tokens of a batch stand: all that a model makes of the lengths of its texts, on the CPU. Every layer reads it, so it is made once, and a
// trainer can send it ahead (tensor/upload.h).
struct StreamLayout {     // of the tokens that a tower sees
  Tensor sequences;       // i32 (N + 1): where each sequence begins
  TokenGroups groups;
  int64_t longest = 0;    // no sequence of any batch of these shapes is longer, the padding included; 0: unknown
};
struct PoolLayout {       // of what is pooled; which are there depends on the kind of pooling
  Tensor rows;            // i32: sequences of the stream (mean), or tokens of it (token; map, undefined: all)
  Tensor sequences, one_each;  // map: i32 (N + 1): of those tokens; and 0, 1, ... N. The padding is the last one
  bool padded = false;
};
struct ImageTextLayout {
  Tensor places;          // i32 (N): of each word in its caption
  Tensor order;           // LIMoE: i32 (T): its tokens among those of all pictures and then all captions. Padding stays last
  StreamLayout image, text;  // LIMoE's only stream is `image`
  PoolLayout image_pool, text_pool;

  std::vector<Tensor> tensors() const;  // all that are there
};

struct ImageTextInput {  // on the CPU, wherever the model is: it reads lengths there and copies the rest
  Tensor pixels;        // u8 (B, H, W, 3); undefined for text alone
  Tensor tokens;        // i32 (N): the ids of all captions, one after the other, and padding; undefined for images alone
  Tensor text_offsets;  // i32 (B + 1) into tokens
  int64_t padding = 0;  // tokens behind the last caption that are there so that batches have one shape; they have no part in what comes out
  int64_t first_example = 0;  // index of the first example in the whole batch, a multiple of group_examples
  std::shared_ptr<const ImageTextLayout> layout;  // ImageTextModel::layout() of this very input, if the caller has it
};

struct LayerReport {  // what one sparse block decided
  int64_t block = 0;
  std::string tower;  // "text" in the text tower of two, else empty
  RoutingStats stats;
  std::vector<std::pair<std::string, double>> losses;  // auxiliary losses by name, unweighted
};

struct ImageTextOutput {
  Tensor image, text;   // f32 (B, D), L2-normalised; undefined for a modality that was not given, and in a classifier
  Tensor features;      // f32 (B, C): pooled pictures before the last layer, outside training
  Tensor logits;        // f32 (B, classes) of a classifier
  Tensor aux;           // f32 (), weighted auxiliary loss over the sparse blocks; undefined in a dense model or outside training
  std::vector<LayerReport> layers;
};

struct LayerRouting {  // where every token of one sparse block went
  int64_t block = 0;
  std::string tower;  // as in LayerReport
  Tensor sequences;   // i32 (N + 1): the sequences of its stream, in order: examples' pictures before their captions, group by group
  Routing routing;
};

struct ImageTextRun {
  DType dtype = DType::f32;  // of activations and weights: f32 or bf16 (f64 for a model made in f64)
  bool training = false;     // noise, training capacity, auxiliary losses
  bool recompute = false;    // activation checkpointing per block
  bool reports = true;       // collect LayerReports
  std::vector<LayerRouting>* routings = nullptr;  // receives every token's routing; for analysis without a graph
};

class ImageTextModel {
 public:
  virtual ~ImageTextModel() = default;
  // Throws ShapeError when the input does not fit the configuration, UsageError for a modality that the model does not read.
  virtual ImageTextOutput forward(const ImageTextInput& input, const ImageTextRun& run) const = 0;
  // Throws as forward() does. `training`: with the tensors that a step of training reads, so that nothing is left to be made in forward().
  virtual ImageTextLayout layout(const ImageTextInput& input, bool training) const = 0;
  const ImageTextConfig& config() const { return config_; }
  ParameterStore& parameters() { return *store_; }
  const ParameterStore& parameters() const { return *store_; }
  Tensor log_temperature() const { return log_temperature_->value(); }                      // (); not in a classifier
  Tensor logit_bias() const { return logit_bias_ ? logit_bias_->value() : Tensor(); }       // (); with the sigmoid loss only

 protected:
  // Weights are drawn from `seed` and lie on `device`. `master` is f64 only for gradient checks.
  ImageTextModel(const ImageTextConfig& config, uint64_t seed, DType master, Device device);
  void add_similarity();  // the temperature, and the bias of the sigmoid loss

  ImageTextConfig config_;
  std::unique_ptr<ParameterStore> store_;

 private:
  Parameter *log_temperature_ = nullptr, *logit_bias_ = nullptr;
};

// The class that config.architecture names.
std::unique_ptr<ImageTextModel> make_model(const ImageTextConfig& config, uint64_t seed, DType master = DType::f32, Device device = Device::cpu());

}  // namespace pumice
