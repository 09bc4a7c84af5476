#include "pumice/models/llava.h"

#include <cmath>

#include "pumice/ops/elementwise/gelu.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/index/view.h"
#include "pumice/tensor/error.h"

namespace pumice {

void LlavaConfig::validate() const {
  vision.validate();
  text.validate();
  REQUIRE(UsageError, projector_layers >= 1, "[llava] the projector needs at least one layer, got ", projector_layers);
  REQUIRE(UsageError, image_tokens() >= 1, "[llava] a picture of one token that is dropped leaves nothing");
}

Llava::Llava(const LlavaConfig& config, uint64_t seed, DType master, Device device)
    : Llava(config, std::make_shared<ParameterStore>(seed, master, device)) {
  store_->pack();
}

Llava Llava::unfilled(const LlavaConfig& config) { return Llava(config, std::shared_ptr<ParameterStore>(ParameterStore::make_unfilled())); }

Llava::Llava(const LlavaConfig& config, std::shared_ptr<ParameterStore> store)
    : config_(config), store_(store), tower_(make_image_tower(Scope(*store) / "vision", config.vision)), decoder_(config.text, store) {
  config_.validate();
  projector_ = make_projector(Scope(*store_) / "projector", config_);
}

std::vector<Linear> make_projector(const Scope& scope, const LlavaConfig& config) {
  std::vector<Linear> layers;
  for (int64_t i = 0; i < config.projector_layers; ++i) {
    const int64_t in = i == 0 ? config.vision.width : config.text.width;
    const Init start = Init::uniform(1 / std::sqrt(double(in)));
    layers.emplace_back(scope / std::to_string(2 * i), in, config.text.width, start, true, start);
  }
  return layers;
}

Tensor Llava::image_features(const Tensor& pixels, DType dtype) const {
  Tensor x = (*tower_)(pixels, dtype, config_.vision_layer);
  if (config_.drops_first()) { x = slice(x, 1, 1, x.dim(1)); }
  for (size_t i = 0; i < projector_.size(); ++i) { x = projector_[i](i == 0 ? x : gelu(x, Gelu::erf)); }
  return x;
}

Llava::Spliced Llava::splice(const LlavaInput& in, DType dtype) const {
  const std::vector<int32_t> id = in.ids.to_vector<int32_t>(), begin = in.sequences.to_vector<int32_t>();
  const std::vector<int32_t> label = in.labels.defined() ? in.labels.to_vector<int32_t>() : std::vector<int32_t>();
  REQUIRE(ShapeError, !in.labels.defined() || label.size() == id.size(), "[llava] labels must be (T) = (", id.size(), "), got ", in.labels.shape());
  require_sequences("[llava]", begin, int64_t(id.size()));
  const int64_t places = config_.image_tokens(), given = in.pixels.defined() ? in.pixels.dim(0) : 0;
  int64_t words = 0, pictures = 0;
  for (int32_t v : id) { (v == kImageId ? pictures : words) += 1; }
  REQUIRE(ShapeError, pictures == given, "[llava] the text has ", pictures, " <image>, but ", given, " pictures came with it");

  // rows of [text embeddings; picture features] in the order of the spliced sequence
  std::vector<int32_t> text, rows, labels, sequences = {0};
  std::vector<uint8_t> modality;
  int64_t picture = 0;
  for (size_t n = 0; n + 1 < begin.size(); ++n) {
    for (int32_t t = begin[n]; t < begin[n + 1]; ++t) {
      if (id[t] != kImageId) {
        rows.push_back(int32_t(text.size()));
        text.push_back(id[t]);
        labels.push_back(label.empty() ? -100 : label[t]);
        modality.push_back(uint8_t(Modality::text));
        continue;
      }
      for (int64_t p = 0; p < places; ++p) {
        rows.push_back(int32_t(words + picture * places + p));
        labels.push_back(-100);
        modality.push_back(uint8_t(Modality::image));
      }
      ++picture;
    }
    sequences.push_back(int32_t(rows.size()));
  }
  const int64_t T = int64_t(rows.size());
  Spliced s;
  Tensor x = decoder_.embed(from_values<int32_t>({words}, text), dtype);
  if (pictures) {
    Tensor features = reshape(image_features(to_device(in.pixels, store_->device()), dtype), {pictures * places, config_.text.width});
    x = gather_rows(concat({x, features}, 0), from_values<int32_t>({T}, rows));
  }
  s.input = {.embeddings = x, .sequences = from_values<int32_t>({int64_t(sequences.size())}, sequences),
             .modality = to_device(from_values<uint8_t>({T}, modality), store_->device())};
  if (in.labels.defined()) { s.labels = from_values<int32_t>({T}, labels); }
  return s;
}

}  // namespace pumice
