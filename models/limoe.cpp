#include "pumice/models/limoe.h"

#include <algorithm>
#include <utility>

#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/norm/l2_normalize.h"
#include "pumice/tensor/error.h"

namespace pumice {

// The packed tokens of a batch and which sequence each example's image and caption is.
struct Limoe::Batch {
  TokenStream stream;
  Tensor image_rows, text_rows;  // i32 (B)
};

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

Limoe::Batch Limoe::assemble(const ImageTextInput& input, DType dtype) const {
  const bool images = input.pixels.defined(), text = input.tokens.defined();
  REQUIRE(ShapeError, images || text, "[limoe] images or captions are required");
  const int64_t B = images ? input.pixels.dim(0) : input.text_offsets.size() - 1, n = image_.tokens();
  REQUIRE(ShapeError, !images || !text || input.text_offsets.size() == B + 1, "[limoe] one caption per image is required, got ",
          B, " images and ", input.text_offsets.size() - 1, " captions");
  require_group_start(input, config_);

  const int32_t* o = text ? input.text_offsets.data<int32_t>() : nullptr;
  const int64_t text_start = images ? B * n : 0;  // where captions begin in concat(images, captions)
  std::vector<int32_t> order, sequences = {0}, image_rows, text_rows;
  std::vector<uint8_t> modality;
  Batch s;
  TokenGroups& groups = s.stream.groups;
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
  groups.modality = from_values<uint8_t>({int64_t(modality.size())}, modality);
  s.stream.sequences = from_values<int32_t>({int64_t(sequences.size())}, sequences);
  if (images) { s.image_rows = from_values<int32_t>({B}, image_rows); }
  if (text) { s.text_rows = from_values<int32_t>({B}, text_rows); }

  if (images && text) {
    Tensor all = concat({image_(input.pixels, dtype), text_(input.tokens, input.text_offsets, dtype)}, 0);
    s.stream.x = gather_rows(all, from_values<int32_t>({int64_t(order.size())}, order));
  } else {
    s.stream.x = images ? image_(input.pixels, dtype) : text_(input.tokens, input.text_offsets, dtype);
  }
  return s;
}

ImageTextOutput Limoe::forward(const ImageTextInput& input, const ImageTextRun& run) const {
  Batch batch = assemble(input, run.dtype);
  const Tensor sequences = batch.stream.sequences;
  ImageTextOutput out;
  std::vector<Tensor> aux;
  Tensor x = encoder_(std::move(batch.stream), run, out, aux);
  auto project = [&](const Linear& head, const Tensor& pooled) {
    return l2_normalize(cast(head(pooled), run.dtype == DType::f64 ? DType::f64 : DType::f32));
  };
  if (batch.image_rows.defined()) {
    Tensor pooled = image_pool_(x, sequences, batch.image_rows);
    if (!run.training) { out.features = to_dtype(pooled.detach(), DType::f32); }
    out.image = project(image_head_, pooled);
  }
  if (batch.text_rows.defined()) { out.text = project(text_head_, text_pool_(x, sequences, batch.text_rows)); }
  out.aux = total_of(aux, config_);
  return out;
}

}  // namespace pumice
