// A vision transformer whose last hidden states a language model reads: CLIP's and SigLIP's image towers.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "pumice/nn/layers.h"

namespace pumice {

struct VisionConfig {
  std::string family = "clip";  // names of tensors: clip, siglip
  int64_t image_size = 0, patch = 0, width = 0, layers = 0, heads = 0, hidden = 0;
  double norm_eps = 1e-5;
  Gelu activation = Gelu::quick;
  bool class_token = true;   // before the patches, with a position of its own
  bool first_norm = true;    // of what enters the first layer
  bool patch_bias = false;

  int64_t tokens() const { return (image_size / patch) * (image_size / patch) + (class_token ? 1 : 0); }
  // Throws UsageError naming the field and what it must be.
  void validate() const;
};

class VisionTower {
 public:
  // Names of parameters begin with the path of `scope`.
  VisionTower(const Scope& scope, const VisionConfig& config);

  // pixels f32 (B, 3, S, S), normalised   ->   (B, tokens(), C): what leaves layer `after` (0: what enters the first; negative ones count from
  // the end, -1 the last), without the norm behind the last layer. Later layers are not computed. Throws ShapeError for another size, UsageError
  // for a layer that does not exist.
  Tensor operator()(const Tensor& pixels, DType dtype, int64_t after = -1) const;
  const VisionConfig& config() const { return config_; }

 private:
  struct Layer {
    LayerNorm norm1, norm2;
    Linear q, k, v, out;
    Mlp mlp;
  };
  VisionConfig config_;
  Parameter *patches_, *patch_bias_ = nullptr, *class_token_ = nullptr, *positions_;  // (C, 3, p, p), (C), (C), (tokens, C)
  LayerNorm first_norm_;
  std::vector<Layer> layers_;
  LayerNorm last_norm_;  // held for the files that have it; not computed
};

}  // namespace pumice
