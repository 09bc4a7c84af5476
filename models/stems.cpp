#include "pumice/models/stems.h"

#include <cmath>

#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/reduce/segment_mean.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

Init position_init(int64_t width) { return Init::normal(1 / std::sqrt(double(width))); }

}  // namespace

Tensor sincos_positions(int64_t n, int64_t width) {
  REQUIRE(UsageError, width % 4 == 0 && width >= 8, "[sincos_positions] the width must be a multiple of 4 and at least 8, got ", width);
  const int64_t quarter = width / 4;
  std::vector<float> values(size_t(n * n * width));
  for (int64_t y = 0; y < n; ++y) {
    for (int64_t x = 0; x < n; ++x) {
      float* row = values.data() + (y * n + x) * width;
      for (int64_t i = 0; i < quarter; ++i) {
        const double omega = std::pow(10000.0, -double(i) / double(quarter - 1));
        row[i] = float(std::sin(double(x) * omega));
        row[quarter + i] = float(std::cos(double(x) * omega));
        row[2 * quarter + i] = float(std::sin(double(y) * omega));
        row[3 * quarter + i] = float(std::cos(double(y) * omega));
      }
    }
  }
  return from_values<float>({n * n, width}, values);
}

ImageStem::ImageStem(const Scope& scope, const ImageTextConfig& c)
    : size_(c.image_size), patch_(c.patch), tokens_(c.image_tokens()), width_(c.width), scale_(c.pixels),
      patches_(scope / "patches", c.patch * c.patch * 3, c.width) {
  const int64_t places = (c.image_size / c.patch) * (c.image_size / c.patch);
  if (c.image_pooling == Pooling::token) { class_token_ = scope.parameter("class_token", {1, c.width}, position_init(c.width), false); }
  if (c.positions == Positions::sincos) { fixed_positions_ = to_device(sincos_positions(c.image_size / c.patch, c.width), scope.device()); }
  else { positions_ = scope.parameter("positions", {places, c.width}, position_init(c.width), false); }
}

Tensor ImageStem::operator()(const Tensor& pixels, DType dtype) const {
  REQUIRE(ShapeError, pixels.rank() == 4 && pixels.dim(1) == size_ && pixels.dim(2) == size_, "[model] pixels must be (B, ", size_, ", ", size_,
          ", 3), got ", pixels.shape());
  return embed(patchify(to_device(pixels, patches_.weight->master().device()), int(patch_), scale_, dtype), dtype);
}

Tensor ImageStem::of_normalised(const Tensor& pixels, DType dtype) const {
  const int64_t B = pixels.dim(0), P = patch_, g = size_ / P;
  return embed(reshape(permute(reshape(cast(pixels, dtype), {B, 3, g, P, g, P}), {0, 2, 4, 3, 5, 1}), {B, g * g, P * P * 3}), dtype);
}

Tensor ImageStem::embed(const Tensor& patches, DType dtype) const {
  const int64_t B = patches.dim(0);
  Tensor x = add(patches_(patches), positions_ ? positions_->value(dtype) : to_dtype(fixed_positions_, dtype));
  if (class_token_) { x = concat({expand(reshape(class_token_->value(dtype), {1, 1, width_}), {B, 1, width_}), x}, 1); }
  return reshape(x, {-1, width_});
}

TextStem::TextStem(const Scope& scope, const ImageTextConfig& c, int64_t width)
    : length_(c.text_length),
      words_(scope / "words", c.vocabulary, width, Init::normal(1 / std::sqrt(double(width)))),
      positions_(scope.parameter("positions", {c.text_length, width}, position_init(width), false)) {}

Tensor TextStem::places(const Tensor& offsets, int64_t padding) const {
  const int32_t* o = offsets.data<int32_t>();
  std::vector<int32_t> place(size_t(o[offsets.size() - 1] + padding));
  for (int64_t i = 0; i + 1 < offsets.size(); ++i) {
    REQUIRE(ShapeError, o[i + 1] - o[i] <= length_, "[model] caption ", i, " has ", o[i + 1] - o[i], " tokens; this model takes at most ", length_);
    for (int32_t t = o[i]; t < o[i + 1]; ++t) { place[size_t(t)] = t - o[i]; }
  }
  return from_values<int32_t>({int64_t(place.size())}, place);
}

Tensor TextStem::operator()(const Tensor& tokens, const Tensor& places, DType dtype) const {
  return add(words_(tokens, dtype), gather_rows(positions_->value(dtype), places));
}

Pool::Pool(const Scope& scope, Pooling kind, Token token, const TowerConfig& tower) : kind_(kind), token_(token) {
  if (kind == Pooling::map) { attention_ = AttentionPool(scope / "pool", tower.width, tower.heads, tower.hidden); }
}

PoolLayout Pool::layout(const Tensor& sequences, const Tensor& rows, bool padded) const {
  if (kind_ == Pooling::mean) { return {.rows = rows}; }
  const int32_t *o = sequences.data<int32_t>(), *r = rows.data<int32_t>();
  std::vector<int32_t> tokens, offsets = {0};
  if (kind_ == Pooling::token) {
    for (int64_t i = 0; i < rows.size(); ++i) { tokens.push_back(token_ == Token::first ? o[r[i]] : o[r[i] + 1] - 1); }
    return {.rows = from_values<int32_t>({rows.size()}, tokens)};
  }
  // The sequences of `rows`, one after the other: in a stream of two modalities each has a pool of its own.
  const int64_t count = rows.size() + padded;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t sequence = i < rows.size() ? r[i] : sequences.size() - 2;
    for (int32_t t = o[sequence]; t < o[sequence + 1]; ++t) { tokens.push_back(t); }
    offsets.push_back(int32_t(tokens.size()));
  }
  const bool all = int64_t(tokens.size()) == o[sequences.size() - 1] && count + 1 == sequences.size();
  return {.rows = all ? Tensor() : from_values<int32_t>({int64_t(tokens.size())}, tokens),
          .sequences = from_values<int32_t>({int64_t(offsets.size())}, offsets), .one_each = even_offsets(count, 1), .padded = padded};
}

Tensor Pool::operator()(const Tensor& x, const Tensor& sequences, const PoolLayout& layout) const {
  if (kind_ == Pooling::mean) { return gather_rows(segment_mean(x, sequences), layout.rows); }
  if (kind_ == Pooling::token) { return gather_rows(x, layout.rows); }
  Tensor pooled = attention_(layout.rows.defined() ? gather_rows(x, layout.rows) : x, layout.sequences, layout.one_each);
  return layout.padded ? slice(pooled, 0, 0, pooled.dim(0) - 1) : pooled;
}

TokenGroups groups_of_one_modality(const Tensor& offsets, Modality modality, int64_t group_examples, int64_t first_example, int64_t padding) {
  const int32_t* o = offsets.data<int32_t>();
  const int64_t B = offsets.size() - 1 - (padding > 0);
  TokenGroups groups;
  for (int64_t begin = 0; begin < B; begin += group_examples) { groups.offsets.push_back(o[std::min(B, begin + group_examples)]); }
  set_modality(groups, std::vector<uint8_t>(size_t(o[B]), uint8_t(modality)), padding);
  groups.first_group = first_example / group_examples;
  return groups;
}

void require_group_start(const ImageTextInput& input, const ImageTextConfig& config) {
  REQUIRE(ShapeError, input.first_example % config.group_examples == 0, "[model] a microbatch must start at a multiple of the ",
          config.group_examples, " examples of a routing group, got ", input.first_example);
}

int64_t longest_text(const ImageTextInput& input, const ImageTextConfig& config) { return input.padding ? input.tokens.size() : config.text_length; }

}  // namespace pumice
