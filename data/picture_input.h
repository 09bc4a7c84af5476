// Pictures as a vision tower wants them: what preprocessor_config.json of Hugging Face's CLIP and SigLIP describes, and LLaVA's padding.
#pragma once
#include <string>

#include "pumice/data/image.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

struct PictureInput {
  // crop: the shorter edge to `edge`. pad: first a square around the whole picture, of the mean colour (LLaVA's image_aspect_ratio "pad"). squash:
  // both edges to `edge`, whatever the shape. Of the result the centre of `size`, black around it where it is smaller.
  enum class Fit { crop, pad, squash };
  int64_t size = 336;
  int64_t edge = 0;  // 0: size. Others resize to 256 and cut 224
  Fit fit = Fit::pad;
  Filter filter = Filter::bicubic;
  float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f}, std[3] = {0.26862954f, 0.26130258f, 0.27577711f};
};

// From the text of a preprocessor_config.json. Throws FormatError naming `source` and the field, also for
// a step that is turned off.
PictureInput picture_input_from_hf(const std::string& json, const std::string& source);

// f32 (3, size, size): (x / 255 - mean) / std. Equal bit for bit to Transformers' slow image processors over Pillow, also behind LLaVA's
// expand2square: the centre is found by rounding down. Of pictures one or three pixels high those take the rows for channels unless they are told;
// here they are pictures. Throws ShapeError for a picture so thin that fitting it takes more than 2^28 pixels.
Tensor picture_tensor(const Image& image, const PictureInput& input);

}  // namespace pumice
