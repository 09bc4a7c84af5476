#include "pumice/models/limoe.h"

#include <algorithm>
#include <utility>

#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/norm/l2_normalize.h"
#include "pumice/tensor/error.h"

namespace pumice {

Limoe::Limoe(const ImageTextConfig& config, uint64_t seed, DType master, Device device) : ImageTextModel(config, seed, master, device) {
  Scope root(*store_), image = root / "image", text = root / "text";
  const TowerConfig tower = config.image_tower();
  image_ = ImageStem(image, config);
  text_ = TextStem(text, config, config.width);
  encoder_ = Encoder(root, config, tower);
  image_pool_ = Pool(image, config.image_pooling, Pool::Token::first, tower);
  text_pool_ = Pool(text, config.text_pooling, Pool::Token::last, tower);
  image_head_ = Linear(image / "head", config.width, config.embedding, Init::lecun_normal(), false);
  text_head_ = Linear(text / "head", config.width, config.embedding, Init::lecun_normal(), false);
  add_similarity();
  store_->pack();
}

ImageTextLayout Limoe::layout(const ImageTextInput& input, bool training) const {
  const bool images = input.pixels.defined(), text = input.tokens.defined();
  REQUIRE(ShapeError, images || text, "[limoe] images or captions are required");
  const int64_t B = images ? input.pixels.dim(0) : input.text_offsets.size() - 1, n = image_.tokens();
  REQUIRE(ShapeError, !images || !text || input.text_offsets.size() == B + 1, "[limoe] one caption per image is required, got ",
          B, " images and ", input.text_offsets.size() - 1, " captions");
  require_group_start(input, config_);

  const int32_t* o = text ? input.text_offsets.data<int32_t>() : nullptr;
  const int64_t padding = input.padding;
  const int64_t text_start = images ? B * n : 0;  // where captions begin in concat(images, captions)
  std::vector<int32_t> order, sequences = {0}, image_rows, text_rows;
  std::vector<uint8_t> modality;
  ImageTextLayout l;
  TokenGroups& groups = l.image.groups;
  auto append = [&](int64_t begin, int64_t count, uint8_t kind, std::vector<int32_t>& rows) {
    rows.push_back(int32_t(sequences.size()) - 1);
    for (int64_t t = 0; t < count; ++t) { order.push_back(int32_t(begin + t)); }
    modality.insert(modality.end(), count, kind);
    sequences.push_back(int32_t(order.size()));
  };
  for (int64_t begin = 0; begin < B; begin += config_.group_examples) {
    int64_t end = std::min(B, begin + config_.group_examples);
    for (int64_t i = begin; images && i < end; ++i) { append(i * n, n, 0, image_rows); }
    for (int64_t i = begin; text && i < end; ++i) { append(text_start + o[i], o[i + 1] - o[i], 1, text_rows); }
    groups.offsets.push_back(int64_t(order.size()));
  }
  groups.first_group = input.first_example / config_.group_examples;
  set_modality(groups, std::move(modality), padding);
  for (int64_t t = 0; t < padding; ++t) { order.push_back(int32_t(text_start + o[B] + t)); }
  if (padding) { sequences.push_back(int32_t(order.size())); }
  encoder_.prepare(groups, training);
  l.image.sequences = from_values<int32_t>({int64_t(sequences.size())}, sequences);
  l.image.longest = std::max(images ? n : 0, text ? longest_text(input, config_) : 0);
  if (images) { l.image_pool = image_pool_.layout(l.image.sequences, from_values<int32_t>({B}, image_rows)); }
  if (text) {
    l.text_pool = text_pool_.layout(l.image.sequences, from_values<int32_t>({B}, text_rows), padding > 0);
    l.places = text_.places(input.text_offsets, padding);
  }
  if (images && text) { l.order = from_values<int32_t>({int64_t(order.size())}, order); }
  return l;
}

ImageTextOutput Limoe::forward(const ImageTextInput& input, const ImageTextRun& run) const {
  const auto l = input.layout ? input.layout : std::make_shared<const ImageTextLayout>(layout(input, false));
  TokenStream stream{.sequences = l->image.sequences, .groups = l->image.groups, .longest = l->image.longest};
  {
    Tensor pictures = input.pixels.defined() ? image_(input.pixels, run.dtype) : Tensor();
    Tensor words = input.tokens.defined() ? text_(input.tokens, l->places, run.dtype) : Tensor();
    stream.x = l->order.defined() ? gather_rows(concat({pictures, words}, 0), l->order) : pictures.defined() ? pictures : words;
  }
  ImageTextOutput out;
  std::vector<Tensor> aux;
  Tensor x = encoder_(std::move(stream), run, out, aux);
  auto project = [&](const Linear& head, const Tensor& pooled) {
    return l2_normalize(cast(head(pooled), run.dtype == DType::f64 ? DType::f64 : DType::f32));
  };
  if (input.pixels.defined()) {
    Tensor pooled = image_pool_(x, l->image.sequences, l->image_pool);
    if (!run.training) { out.features = to_dtype(pooled.detach(), DType::f32); }
    out.image = project(image_head_, pooled);
  }
  if (input.tokens.defined()) { out.text = project(text_head_, text_pool_(x, l->image.sequences, l->text_pool)); }
  out.aux = total_of(aux, config_);
  return out;
}

}  // namespace pumice
