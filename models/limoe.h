// LIMoE (Mustafa, Riquelme, Puigcerver, Jenatton, Houlsby 2022, arXiv:2206.02770): one transformer encoder for images and text,
// some of whose MLPs are mixtures of experts that both modalities share, trained contrastively.
//
// All images and captions of a batch run as one packed stream of tokens (T, C) without padding: attention stays inside each
// sequence, everything else is row-wise, and a routing group is a contiguous run of tokens: the images of some examples, then
// their captions.
#pragma once
#include <memory>

#include "pumice/models/limoe_config.h"
#include "pumice/moe/moe_mlp.h"
#include "pumice/moe/stats.h"
#include "pumice/nn/layers.h"

namespace pumice {

struct LimoeInput {
  Tensor pixels;        // u8 (B, H, W, 3); undefined for text alone
  Tensor tokens;        // i32 (N): the ids of all captions, one after the other; undefined for images alone
  Tensor text_offsets;  // i32 (B + 1) into tokens
  int64_t first_example = 0;  // index of the first example in the whole batch, a multiple of group_examples
};

struct LayerReport {  // what one sparse block decided
  int64_t block = 0;
  RoutingStats stats;
  std::vector<std::pair<std::string, double>> losses;  // auxiliary losses by name, unweighted
};

struct LimoeOutput {
  Tensor image, text;   // f32 (B, D), L2-normalised; undefined for a modality that was not given
  Tensor aux;           // f32 (), weighted auxiliary loss over the sparse blocks; undefined in a dense model or outside training
  std::vector<LayerReport> layers;
};

struct LimoeRun {
  DType dtype = DType::f32;  // of activations and weights: f32 or bf16 (f64 for a model made in f64)
  bool training = false;     // noise, training capacity, auxiliary losses
  bool recompute = false;    // activation checkpointing per block
  bool reports = true;       // collect LayerReports
};

class Limoe {
 public:
  // Weights drawn from `seed`. `master` is f64 only for gradient checks.
  Limoe(const LimoeConfig& config, uint64_t seed, DType master = DType::f32);

  LimoeOutput forward(const LimoeInput& input, const LimoeRun& run) const;
  Tensor log_temperature() const { return log_temperature_->value(); }  // ()
  const LimoeConfig& config() const { return config_; }
  ParameterStore& parameters() { return *store_; }
  const ParameterStore& parameters() const { return *store_; }

 private:
  struct Block {
    LayerNorm norm1, norm2;
    SelfAttention attention;
    Mlp mlp;   // dense blocks
    MoeMlp moe;  // sparse blocks
    bool sparse = false;
    uint32_t attention_site = 0, mlp_site = 0;  // of dropout
  };
  struct Stream;
  Stream assemble(const LimoeInput& input, DType dtype) const;
  Tensor embed_images(const Tensor& pixels, DType dtype) const;
  Tensor embed_text(const Tensor& tokens, const Tensor& offsets, DType dtype) const;
  std::vector<Tensor> run_block(const Block& block, const Tensor& x, const Stream& stream, const LimoeRun& run, LayerReport* report) const;

  LimoeConfig config_;
  std::unique_ptr<ParameterStore> store_;
  Linear patches_;
  Embedding words_;
  Parameter *image_positions_ = nullptr, *text_positions_ = nullptr;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Linear image_head_, text_head_;
  Parameter* log_temperature_ = nullptr;
};

}  // namespace pumice
