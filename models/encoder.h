// The trunk that all these models share: pre-norm transformer blocks, some of whose MLPs are mixtures of experts, over packed sequences.
#pragma once
#include "pumice/models/image_text_model.h"
#include "pumice/moe/moe_mlp.h"
#include "pumice/nn/layers.h"

namespace pumice {

// Tokens of a batch, packed one sequence after the other.
struct TokenStream {
  Tensor x;          // (T, C)
  Tensor sequences;  // this and the others as in StreamLayout
  TokenGroups groups;
  int64_t longest = 0;
};

class Encoder {
 public:
  Encoder() = default;
  // Blocks "blocks.0", ... and "norm" under `scope`. `name` is LayerReport::tower.
  Encoder(const Scope& scope, const ImageTextConfig& config, const TowerConfig& tower, std::string name = "");
  // Has groups.tensors keep what sparse blocks read; all of it is made now where `training` says so.
  void prepare(TokenGroups& groups, bool training) const;

  // Runs the blocks and the final norm: (T, C). Reports are appended to out.layers, auxiliary losses to `aux`.
  Tensor operator()(TokenStream stream, const ImageTextRun& run, ImageTextOutput& out, std::vector<Tensor>& aux) const;
  // The same of the first `count` blocks alone, without the norm.
  Tensor blocks(TokenStream stream, int64_t count, const ImageTextRun& run, ImageTextOutput& out, std::vector<Tensor>& aux) const;

 private:
  struct Block {
    int64_t index = 0;
    LayerNorm norm1, norm2;
    SelfAttention attention;
    Mlp mlp;     // dense blocks
    MoeMlp moe;  // sparse blocks
    bool sparse = false;
    uint32_t attention_site = 0, mlp_site = 0;  // of dropout
  };
  std::vector<Tensor> run_block(const Block& block, const Tensor& x, const TokenStream& stream, const ImageTextRun& run, LayerReport* report) const;

  std::string name_;
  AuxOptions aux_;
  double dropout_ = 0;
  std::vector<Block> blocks_;
  LayerNorm norm_;
};

// The sum or the mean of the sparse blocks' auxiliary losses, as `config` asks; undefined if there are none.
Tensor total_of(const std::vector<Tensor>& aux, const ImageTextConfig& config);

}  // namespace pumice
