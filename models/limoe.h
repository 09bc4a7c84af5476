// LIMoE (Mustafa, Riquelme, Puigcerver, Jenatton, Houlsby 2022, arXiv:2206.02770): one transformer encoder for images and text,
// some of whose MLPs are mixtures of experts that both modalities share, trained contrastively.
//
// All images and captions of a batch run as one packed stream of tokens (T, C) without padding: attention stays inside each
// sequence, everything else is row-wise, and a routing group is a contiguous run of tokens: the images of some examples, then
// their captions.
#pragma once
#include "pumice/models/stems.h"

namespace pumice {

class Limoe : public ImageTextModel {
 public:
  Limoe(const ImageTextConfig& config, uint64_t seed, DType master = DType::f32, Device device = Device::cpu());
  ImageTextLayout layout(const ImageTextInput& input, bool training) const override;
  ImageTextOutput forward(const ImageTextInput& input, const ImageTextRun& run) const override;

 private:
  ImageStem image_;
  TextStem text_;
  Encoder encoder_;
  Pool image_pool_, text_pool_;
  Linear image_head_, text_head_;
};

}  // namespace pumice
