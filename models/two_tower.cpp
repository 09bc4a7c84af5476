#include "pumice/models/two_tower.h"

#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/norm/l2_normalize.h"
#include "pumice/tensor/error.h"

namespace pumice {
TwoTower::TwoTower(const ImageTextConfig& config, uint64_t seed, DType master, Device device) : ImageTextModel(config, seed, master, device) {
  Scope root(*store_), image = root / "image", text = root / "text";
  const TowerConfig image_tower = config.image_tower(), text_tower = config.text_tower();
  image_ = ImageStem(image, config);
  image_encoder_ = Encoder(image, config, image_tower);
  image_pool_ = Pool(image, config.image_pooling, Pool::Token::first, image_tower);
  image_head_ = Linear(image / "head", image_tower.width, config.embedding, Init::lecun_normal(), false);
  text_ = TextStem(text, config, text_tower.width);
  text_encoder_ = Encoder(text, config, text_tower, "text");
  text_pool_ = Pool(text, config.text_pooling, Pool::Token::last, text_tower);
  text_head_ = Linear(text / "head", text_tower.width, config.embedding, Init::lecun_normal(), false);
  add_similarity();
  store_->pack();
}

ImageTextLayout TwoTower::layout(const ImageTextInput& input, bool training) const {
  REQUIRE(ShapeError, input.pixels.defined() || input.tokens.defined(), "[two_tower] images or captions are required");
  require_group_start(input, config_);
  ImageTextLayout l;
  auto lay_out = [&](StreamLayout& stream, PoolLayout& pooled, const Encoder& encoder, const Pool& pool, const Tensor& sequences, Modality modality,
                     int64_t padding) {
    stream.sequences = sequences;
    stream.groups = groups_of_one_modality(sequences, modality, config_.group_examples, input.first_example, padding);
    encoder.prepare(stream.groups, training);
    pooled = pool.layout(sequences, even_offsets(sequences.size() - 2 - (padding > 0), 1), padding > 0);
  };
  if (input.pixels.defined()) {
    lay_out(l.image, l.image_pool, image_encoder_, image_pool_, even_offsets(input.pixels.dim(0), image_.tokens()), Modality::image, 0);
    l.image.longest = image_.tokens();
  }
  if (input.tokens.defined()) {
    std::vector<int32_t> sequences = input.text_offsets.to_vector<int32_t>();
    if (input.padding) { sequences.push_back(sequences.back() + int32_t(input.padding)); }
    lay_out(l.text, l.text_pool, text_encoder_, text_pool_, from_values<int32_t>({int64_t(sequences.size())}, sequences), Modality::text, input.padding);
    l.text.longest = longest_text(input, config_);
    l.places = text_.places(input.text_offsets, input.padding);
  }
  return l;
}

ImageTextOutput TwoTower::forward(const ImageTextInput& input, const ImageTextRun& run) const {
  const auto l = input.layout ? input.layout : std::make_shared<const ImageTextLayout>(layout(input, false));
  ImageTextOutput out;
  std::vector<Tensor> aux;
  auto embed = [&](const Encoder& encoder, const Pool& pool, const Linear& head, Tensor x, const StreamLayout& stream, const PoolLayout& pooling,
                   bool image) {
    Tensor y = encoder({std::move(x), stream.sequences, stream.groups, stream.longest}, run, out, aux);
    Tensor pooled = pool(y, stream.sequences, pooling);
    if (!run.training && image) { out.features = to_dtype(pooled.detach(), DType::f32); }
    return l2_normalize(cast(head(pooled), run.dtype == DType::f64 ? DType::f64 : DType::f32));
  };
  if (input.pixels.defined()) {
    out.image = embed(image_encoder_, image_pool_, image_head_, image_(input.pixels, run.dtype), l->image, l->image_pool, true);
  }
  if (input.tokens.defined()) {
    out.text = embed(text_encoder_, text_pool_, text_head_, text_(input.tokens, l->places, run.dtype), l->text, l->text_pool, false);
  }
  out.aux = total_of(aux, config_);
  return out;
}

}  // namespace pumice
