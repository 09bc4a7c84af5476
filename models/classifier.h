// An image classifier: ViT (Dosovitskiy et al. 2021, arXiv:2010.11929), and V-MoE (Riquelme et al. 2021, arXiv:2106.05974) where
// blocks are sparse.
#pragma once
#include "pumice/models/stems.h"

namespace pumice {

class ImageClassifier : public ImageTextModel {
 public:
  // config.classnames names the classes. Parameters are called as in the image tower of TwoTower, so that a trained one can become LiT's.
  ImageClassifier(const ImageTextConfig& config, uint64_t seed, DType master = DType::f32, Device device = Device::cpu());
  ImageTextLayout layout(const ImageTextInput& input, bool training) const override;
  ImageTextOutput forward(const ImageTextInput& input, const ImageTextRun& run) const override;  // captions are not read

 private:
  ImageStem image_;
  Encoder encoder_;
  Pool pool_;
  Linear classes_;
};

}  // namespace pumice
