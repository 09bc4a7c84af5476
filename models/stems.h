// Where pictures and words enter a tower, and where one vector per sequence leaves it.
#pragma once
#include "pumice/models/encoder.h"

namespace pumice {

// Patches of a picture as tokens, with their positions (Dosovitskiy et al. 2021, arXiv:2010.11929), and a class token before them where
// pooling asks for one.
class ImageStem {
 public:
  ImageStem() = default;
  ImageStem(const Scope& scope, const ImageTextConfig& config);
  // pixels u8 (B, S, S, 3) -> (B * tokens(), C). Throws ShapeError for another size.
  Tensor operator()(const Tensor& pixels, DType dtype) const;
  // The same of pixels f32 (B, 3, S, S) that are normalised already.
  Tensor of_normalised(const Tensor& pixels, DType dtype) const;
  int64_t tokens() const { return tokens_; }  // per picture, the class token included

 private:
  Tensor embed(const Tensor& patches, DType dtype) const;  // (B, n, 3 p^2), in the order (py, px, channel)
  int64_t size_ = 0, patch_ = 0, tokens_ = 0, width_ = 0;
  PixelScale scale_;
  Linear patches_;
  Parameter *class_token_ = nullptr, *positions_ = nullptr;
  Tensor fixed_positions_;  // sincos
};

// Token ids as vectors, with their positions.
class TextStem {
 public:
  TextStem() = default;
  TextStem(const Scope& scope, const ImageTextConfig& config, int64_t width);
  // offsets i32 (B + 1) -> i32 (N): the place of each word, and 0 for padding. Throws ShapeError for a caption longer than the model takes.
  Tensor places(const Tensor& offsets, int64_t padding = 0) const;
  // tokens i32 (N), their places -> (N, C)
  Tensor operator()(const Tensor& tokens, const Tensor& places, DType dtype) const;

 private:
  int64_t length_ = 0;
  Embedding words_;
  Parameter* positions_ = nullptr;
};

// One vector per sequence, from the tokens that leave the encoder.
class Pool {
 public:
  enum class Token { first, last };
  Pool() = default;
  // mean: over the tokens. map: attention_pool() under scope / "pool". token: that token alone.
  Pool(const Scope& scope, Pooling kind, Token token, const TowerConfig& tower);
  // sequences i32 (N + 1) of a stream, rows i32 (B): which of them; padded: the last one is padding, and of what is pooled all numbers should be one
  // from batch to batch
  PoolLayout layout(const Tensor& sequences, const Tensor& rows, bool padded = false) const;
  // x (T, C), sequences i32 (N + 1) -> (B, C)
  Tensor operator()(const Tensor& x, const Tensor& sequences, const PoolLayout& layout) const;

 private:
  Pooling kind_ = Pooling::mean;
  Token token_ = Token::first;
  AttentionPool attention_;
};

// (n, n) places as n * n vectors of `width` channels, a multiple of 4: sin x, cos x, sin y, cos y at width / 4 frequencies from 1 down to
// 1 / 10000 (big_vision's sincos2d).
Tensor sincos_positions(int64_t n, int64_t width);

// Groups of whole examples in a stream of one modality. `offsets` i32 (B + 1).
TokenGroups groups_of_one_modality(const Tensor& offsets, Modality modality, int64_t group_examples, int64_t first_example, int64_t padding = 0);
// Throws ShapeError unless a part of a batch begins at the start of a routing group.
void require_group_start(const ImageTextInput& input, const ImageTextConfig& config);

// StreamLayout::longest of captions: with padding, which is one sequence, all of the tokens might be padding.
int64_t longest_text(const ImageTextInput& input, const ImageTextConfig& config);

}  // namespace pumice
