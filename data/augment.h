// Random changes to training pictures, in torchvision's and Pillow's arithmetic. What happens to a sample depends on the seed, the epoch and
// the sample alone.
#pragma once
#include <cstdint>

#include "pumice/data/image.h"

namespace pumice {

struct Augmentation {
  double min_scale = 1, max_scale = 1;  // RandomResizedCrop: share of the area that is kept; 1, 1: the centre crop of evaluation
  double min_ratio = 3.0 / 4, max_ratio = 4.0 / 3;  // width over height of what is kept, log-uniform
  double flip = 0;                      // probability of a mirror image; off: captions may say left and right
  double brightness = 0, contrast = 0, saturation = 0;  // factors from max(0, 1 - v) to 1 + v
  double hue = 0;                       // a turn of the colour circle from -v to v, at most 0.5; the four come in random order (ColorJitter)
  double grey = 0;                      // probability of losing the colour
  bool any() const { return min_scale < 1 || flip > 0 || brightness > 0 || contrast > 0 || saturation > 0 || hue > 0 || grey > 0; }
  // Throws UsageError naming the flag.
  void validate() const;
};

// (size, size). With any() false: resize_and_crop().
Image augment(const Image& image, int size, const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t sample);

// The parts, as Pillow has them (ImageEnhance, ImageOps.mirror, convert("L"), convert("HSV")): equal to the bit.
Image crop(const Image& image, int left, int top, int width, int height);
Image mirrored(const Image& image);
Image grey(const Image& image);
Image with_brightness(const Image& image, float factor);
Image with_contrast(const Image& image, float factor);
Image with_saturation(const Image& image, float factor);
Image with_hue(const Image& image, double turn);  // torchvision's adjust_hue; turn in [-0.5, 0.5]

}  // namespace pumice
