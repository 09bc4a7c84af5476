// CLIP's and SigLIP's image towers (Radford et al. 2021, arXiv:2103.00020; Zhai et al. 2023, arXiv:2303.15343).
#pragma once
#include <vector>

#include "pumice/models/image_tower.h"
#include "pumice/nn/layers.h"

namespace pumice {

class VisionTower : public ImageTower {
 public:
  VisionTower(const Scope& scope, const VisionConfig& config);
  Tensor operator()(const Tensor& pixels, DType dtype, int64_t after = -1) const override;

 private:
  struct Layer {
    LayerNorm norm1, norm2;
    Linear q, k, v, out;
    Mlp mlp;
  };
  Parameter *patches_, *patch_bias_ = nullptr, *class_token_ = nullptr, *positions_;  // (C, 3, p, p), (C), (C), (tokens, C)
  LayerNorm first_norm_;
  std::vector<Layer> layers_;
  LayerNorm last_norm_;  // held for the files that have it; not computed
};

}  // namespace pumice
