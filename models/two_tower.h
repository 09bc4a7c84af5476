// Two towers that meet in the joint space only: CLIP (Radford et al. 2021, arXiv:2103.00020), and LiT (Zhai et al. 2022,
// arXiv:2111.07991) when the image tower is loaded and frozen. Either tower may be sparse; each routes its own tokens.
#pragma once
#include "pumice/models/stems.h"

namespace pumice {

class TwoTower : public ImageTextModel {
 public:
  TwoTower(const ImageTextConfig& config, uint64_t seed, DType master = DType::f32, Device device = Device::cpu());
  ImageTextLayout layout(const ImageTextInput& input, bool training) const override;
  ImageTextOutput forward(const ImageTextInput& input, const ImageTextRun& run) const override;

 private:
  ImageStem image_;
  TextStem text_;
  Encoder image_encoder_, text_encoder_;
  Pool image_pool_, text_pool_;
  Linear image_head_, text_head_;
};

}  // namespace pumice
