#include "pumice/models/run_tower.h"

#include "pumice/ops/index/view.h"

namespace pumice {
namespace {

ImageTextConfig dropless(ImageTextConfig config) {
  config.router.eval = Capacity::dropless();
  return config;
}

}  // namespace

RunTower::RunTower(const Scope& scope, const VisionConfig& config)
    : ImageTower(config),
      stem_(scope / "image", *config_.run),
      encoder_(config_.run->architecture == Architecture::limoe ? scope : scope / "image", dropless(*config_.run), config_.run->image_tower()) {}

Tensor RunTower::operator()(const Tensor& pixels, DType dtype, int64_t after) const {
  const int64_t last = layers_until(after, pixels), B = pixels.dim(0), T = config_.tokens();
  const Tensor sequences = even_offsets(B, T);
  TokenStream stream{stem_.of_normalised(pixels, dtype), sequences, groups_of_one_modality(sequences, Modality::image, 1, 0), T};
  ImageTextOutput reports;
  std::vector<Tensor> aux;
  return reshape(encoder_.blocks(std::move(stream), last, {.dtype = dtype, .reports = false}, reports, aux), {B, T, config_.width});
}

VisionConfig vision_config_of(const ImageTextConfig& c) {
  constexpr const char* kNames[] = {"limoe", "two_tower", "classifier"};
  return {.family = kNames[int(c.architecture)], .image_size = c.image_size, .patch = c.patch, .width = c.width, .layers = c.depth, .heads = c.heads,
          .hidden = c.hidden, .class_token = c.image_pooling == Pooling::token, .run = c};
}

}  // namespace pumice
