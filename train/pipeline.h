// Tokenizer, preprocessing and model together: from pictures and sentences to points of the joint space.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pumice/data/image.h"
#include "pumice/tensor/error.h"
#include "pumice/train/checkpoint.h"

namespace pumice {

class ImageTextPipeline {
 public:
  // `path`: a run directory or a checkpoint. Throws IoError, FormatError.
  explicit ImageTextPipeline(const std::string& path, DType precision = DType::f32, Weights weights = Weights::trained,
                             Device device = Device::cpu());

  // (N, D) f32, L2-normalised, in chunks of `chunk` inputs, without a graph. Throws UsageError for a classifier, which has no joint space.
  Tensor encode_texts(std::span<const std::string> texts, int64_t chunk = 256) const;
  // u8 (N, H, W, 3) at the model's size.
  Tensor encode_pixels(const Tensor& pixels, int64_t chunk = 256) const;
  // The same, as logits (N, classes) f32 of a classifier; classes are config().classnames.
  Tensor classify_pixels(const Tensor& pixels, int64_t chunk = 256) const;
  // The same, as pooled features before the last layer (N, C) f32, of any model.
  Tensor image_features(const Tensor& pixels, int64_t chunk = 256) const;
  // Routing of every token of every sparse block for some pictures and captions (either may be undefined), a routing group's worth at most.
  std::vector<LayerRouting> routings(const Tensor& pixels, const Tensor& tokens, const Tensor& text_offsets) const;
  const Tokenizer& tokenizer() const { return loaded_.tokenizer; }
  // How pictures are to be decoded: as in training, unless changed. Batches of pictures are PixelBatch(pipeline).
  const DecodeOptions& decoding() const { return decoding_; }
  void set_exif_orientation(bool on) { decoding_.exif_orientation = on; }
  bool is_classifier() const { return config().architecture == Architecture::classifier; }

  int64_t image_size() const { return loaded_.model->config().image_size; }
  const ImageTextConfig& config() const { return loaded_.model->config(); }
  const std::string& checkpoint() const { return loaded_.checkpoint; }
  int64_t step() const { return loaded_.state.step; }

 private:
  void require_joint_space() const;
  Tensor run_pixels(const Tensor& pixels, int64_t chunk, int64_t columns, Tensor ImageTextOutput::*result) const;

  LoadedImageText loaded_;
  ImageTextRun run_;
  DecodeOptions decoding_;
};

// Decoded and resized pictures packed for a model: u8 (N, size, size, 3). Pictures that cannot be read are left out and named.
class PixelBatch {
 public:
  explicit PixelBatch(const ImageTextPipeline& pipeline) : size_(pipeline.image_size()), decoding_(pipeline.decoding()) {}
  // What `read` gives; nothing, with the reason noted, when its file cannot be opened.
  template <class Read> auto sample(const Read& read) -> std::optional<decltype(read())> {
    try {
      return read();
    } catch (const IoError& e) {
      problems_.push_back(e.what());
      return std::nullopt;
    }
  }
  // False, with the reason noted, when the picture cannot be read.
  bool add(std::string_view bytes, const std::string& name);
  int64_t count() const { return count_; }
  Tensor pixels() const;
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  int64_t size_, count_ = 0;
  DecodeOptions decoding_;
  std::vector<uint8_t> data_;
  std::vector<std::string> problems_;
};

}  // namespace pumice
