#include "pumice/models/classifier.h"

#include "pumice/ops/elementwise/cast.h"
#include "pumice/tensor/error.h"

namespace pumice {

ImageClassifier::ImageClassifier(const ImageTextConfig& config, uint64_t seed, DType master, Device device)
    : ImageTextModel(config, seed, master, device) {
  Scope root(*store_), image = root / "image";
  const TowerConfig tower = config.image_tower();
  image_ = ImageStem(image, config);
  encoder_ = Encoder(image, config, tower);
  pool_ = Pool(image, config.image_pooling, Pool::Token::first, tower);
  // Each class is as unlikely at the start as one of many is, so that the sigmoid loss does not begin by unlearning one half (V-MoE).
  const double bias = config.loss == Loss::sigmoid ? config.initial_bias : 0;
  classes_ = Linear(root / "classes", config.width, int64_t(config.classnames.size()), Init::zeros(), true, Init::constant(bias));
  store_->pack();
}

ImageTextLayout ImageClassifier::layout(const ImageTextInput& input, bool training) const {
  REQUIRE(ShapeError, input.pixels.defined(), "[classifier] images are required");
  require_group_start(input, config_);
  const int64_t B = input.pixels.dim(0);
  ImageTextLayout l;
  l.image.sequences = even_offsets(B, image_.tokens());
  l.image.longest = image_.tokens();
  l.image.groups = groups_of_one_modality(l.image.sequences, Modality::image, config_.group_examples, input.first_example);
  encoder_.prepare(l.image.groups, training);
  l.image_pool = pool_.layout(l.image.sequences, even_offsets(B - 1, 1));
  return l;
}

ImageTextOutput ImageClassifier::forward(const ImageTextInput& input, const ImageTextRun& run) const {
  const auto l = input.layout ? input.layout : std::make_shared<const ImageTextLayout>(layout(input, false));
  ImageTextOutput out;
  std::vector<Tensor> aux;
  Tensor y = encoder_({image_(input.pixels, run.dtype), l->image.sequences, l->image.groups, l->image.longest}, run, out, aux);
  Tensor pooled = pool_(y, l->image.sequences, l->image_pool);
  if (!run.training) { out.features = to_dtype(pooled.detach(), DType::f32); }
  out.logits = cast(classes_(pooled), run.dtype == DType::f64 ? DType::f64 : DType::f32);
  out.aux = total_of(aux, config_);
  return out;
}

}  // namespace pumice
