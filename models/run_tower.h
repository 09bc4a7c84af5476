// The image side of a LIMoE, of a model of two towers or of a classifier as a vision tower: its stem and its blocks, without what pools their tokens.
#pragma once
#include "pumice/models/encoder.h"
#include "pumice/models/image_tower.h"
#include "pumice/models/stems.h"

namespace pumice {

// Parameters are called as in the model itself, so that its checkpoints fit: "image.patches.weight", "blocks.0..." or "image.blocks.0...".
//
// Sparse blocks route as in evaluation, without noise, over each picture's own tokens, and drop none, whatever capacity the run was evaluated with:
// what a picture becomes does not depend on those beside it, as the cache of a conversation needs. Where the run drops nothing either, these are its
// own hidden states. There are no auxiliary losses, also where the tower is trained further.
class RunTower : public ImageTower {
 public:
  RunTower(const Scope& scope, const VisionConfig& config);
  Tensor operator()(const Tensor& pixels, DType dtype, int64_t after = -1) const override;

 private:
  ImageStem stem_;
  Encoder encoder_;  // its last norm is held for the files that have it; not computed
};

// The sizes of its image side, and itself in `run`.
VisionConfig vision_config_of(const ImageTextConfig& config);

}  // namespace pumice
