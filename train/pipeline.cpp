#include "pumice/train/pipeline.h"

#include <nlohmann/json.hpp>

#include "pumice/data/image.h"
#include "pumice/data/loader.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"

namespace pumice {

ImageTextPipeline::ImageTextPipeline(const std::string& path, DType precision, Weights weights, Device device)
    : loaded_(load_image_text(path, weights, device)), run_{.dtype = precision, .reports = false} {
  const auto options = parse_json_or_discard(loaded_.state.options);
  decoding_.exif_orientation = options.is_object() && options.value("exif-orientation", nlohmann::json()) == true;
}

void ImageTextPipeline::require_joint_space() const {
  REQUIRE(UsageError, !is_classifier(), "[pipeline] ", checkpoint(), " is a classifier of ", config().classnames.size(),
          " classes: it reads no text. Evaluate it with pumice eval "
          "zeroshot on a set of the same classes");
}

Tensor ImageTextPipeline::encode_texts(std::span<const std::string> texts, int64_t chunk) const {
  require_joint_space();
  NoGrad no_grad;
  Tensor all = empty({int64_t(texts.size()), config().embedding});
  for (int64_t begin = 0; begin < int64_t(texts.size()); begin += chunk) {
    int64_t end = std::min<int64_t>(begin + chunk, int64_t(texts.size()));
    std::vector<int32_t> tokens, offsets = {0};
    for (int64_t i = begin; i < end; ++i) {
      std::vector<int32_t> ids = encode_caption(loaded_.tokenizer, texts[i], config().text_length);
      tokens.insert(tokens.end(), ids.begin(), ids.end());
      offsets.push_back(int32_t(tokens.size()));
    }
    ImageTextInput input;
    input.tokens = from_values<int32_t>({int64_t(tokens.size())}, tokens);
    input.text_offsets = from_values<int32_t>({int64_t(offsets.size())}, offsets);
    copy_into(all.slice(0, begin, end), loaded_.model->forward(input, run_).text);
  }
  return all;
}

Tensor ImageTextPipeline::run_pixels(const Tensor& pixels, int64_t chunk, int64_t columns, Tensor ImageTextOutput::*result) const {
  NoGrad no_grad;
  Tensor all = empty({pixels.dim(0), columns});
  for (int64_t begin = 0; begin < pixels.dim(0); begin += chunk) {
    ImageTextInput input;
    int64_t end = std::min(begin + chunk, pixels.dim(0));
    input.pixels = pixels.slice(0, begin, end);
    copy_into(all.slice(0, begin, end), loaded_.model->forward(input, run_).*result);
  }
  return all;
}

Tensor ImageTextPipeline::encode_pixels(const Tensor& pixels, int64_t chunk) const {
  require_joint_space();
  return run_pixels(pixels, chunk, config().embedding, &ImageTextOutput::image);
}

Tensor ImageTextPipeline::classify_pixels(const Tensor& pixels, int64_t chunk) const {
  REQUIRE(UsageError, is_classifier(), "[pipeline] ", checkpoint(), " is no classifier: its pictures meet text in a joint space");
  return run_pixels(pixels, chunk, int64_t(config().classnames.size()), &ImageTextOutput::logits);
}

Tensor ImageTextPipeline::image_features(const Tensor& pixels, int64_t chunk) const {
  return run_pixels(pixels, chunk, config().width, &ImageTextOutput::features);
}

std::vector<LayerRouting> ImageTextPipeline::routings(const Tensor& pixels, const Tensor& tokens, const Tensor& text_offsets) const {
  NoGrad no_grad;
  std::vector<LayerRouting> found;
  ImageTextRun run = run_;
  run.routings = &found;
  ImageTextInput input;
  input.pixels = pixels;
  input.tokens = tokens;
  input.text_offsets = text_offsets;
  loaded_.model->forward(input, run);
  return found;
}

bool PixelBatch::add(std::string_view bytes, const std::string& name) {
  try {
    Image image = resize_and_crop(decode_image(bytes, name, decoding_), int(size_));
    data_.insert(data_.end(), image.rgb.begin(), image.rgb.end());
    ++count_;
    return true;
  } catch (const Error& e) {
    problems_.push_back(e.what());
    return false;
  }
}

Tensor PixelBatch::pixels() const { return from_values<uint8_t>({count_, size_, size_, 3}, data_); }

}  // namespace pumice
