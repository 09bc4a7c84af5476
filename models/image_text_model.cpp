#include "pumice/models/image_text_model.h"

#include <cmath>

#include "pumice/models/classifier.h"
#include "pumice/models/limoe.h"
#include "pumice/models/two_tower.h"

namespace pumice {

ImageTextModel::ImageTextModel(const ImageTextConfig& config, uint64_t seed, DType master, Device device)
    : config_(config), store_(std::make_unique<ParameterStore>(seed, master, device)) {
  config.validate();
}

std::vector<Tensor> ImageTextLayout::tensors() const {
  std::vector<Tensor> all;
  const auto add = [&](const Tensor& t) {
    if (t.defined()) { all.push_back(t); }
  };
  add(places);
  add(order);
  for (const StreamLayout* stream : {&image, &text}) {
    add(stream->sequences);
    add(stream->groups.modality);
    if (!stream->groups.tensors) { continue; }
    for (const auto& [name, t] : *stream->groups.tensors) { add(t); }
  }
  for (const PoolLayout* pool : {&image_pool, &text_pool}) {
    add(pool->rows);
    add(pool->sequences);
    add(pool->one_each);
  }
  return all;
}

void ImageTextModel::add_similarity() {
  Scope root(*store_);
  log_temperature_ = root.parameter("log_temperature", {}, Init::constant(std::log(config_.initial_temperature)), false);
  if (config_.loss == Loss::sigmoid) { logit_bias_ = root.parameter("logit_bias", {}, Init::constant(config_.initial_bias), false); }
}

std::unique_ptr<ImageTextModel> make_model(const ImageTextConfig& config, uint64_t seed, DType master, Device device) {
  switch (config.architecture) {
    case Architecture::two_tower: return std::make_unique<TwoTower>(config, seed, master, device);
    case Architecture::classifier: return std::make_unique<ImageClassifier>(config, seed, master, device);
    default: return std::make_unique<Limoe>(config, seed, master, device);
  }
}

}  // namespace pumice
