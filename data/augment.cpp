#include "pumice/data/augment.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "pumice/tensor/error.h"
#include "pumice/tensor/philox.h"

namespace pumice {
namespace {

uint8_t luma(const uint8_t* p) { return uint8_t((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 0x8000u) >> 16); }

// Pillow's Image.blend: `from` at 0, `to` at 1, beyond by extrapolation; the fraction is cut off.
uint8_t blend(uint8_t from, uint8_t to, float alpha) {
  const float value = float(int(from)) + alpha * float(int(to) - int(from));
  return value <= 0 ? 0 : value >= 255 ? 255 : uint8_t(value);
}

// Smith's hexcone (SIGGRAPH 1978) in Pillow's 8 bits: (h, s, v) and back.
struct Hsv { uint8_t h, s, v; };

Hsv to_hsv(const uint8_t* rgb) {
  const int r = rgb[0], g = rgb[1], b = rgb[2], most = std::max({r, g, b}), least = std::min({r, g, b});
  if (most == least) { return {0, 0, uint8_t(most)}; }
  const float span = float(most - least), s = span / float(most);
  const float rc = float(most - r) / span, gc = float(most - g) / span, bc = float(most - b) / span;
  const float sector = r == most ? bc - gc : g == most ? float(2.0 + rc - bc) : float(4.0 + gc - rc);
  const float h = float(std::fmod(sector / 6.0 + 1.0, 1.0));
  return {uint8_t(h * 255.0), uint8_t(s * 255.0), uint8_t(most)};
}

void to_rgb(Hsv c, uint8_t* rgb) {
  const int sector = int(std::floor(float(c.h) * 6.0 / 255.0));
  const float f = float(float(c.h) * 6.0 / 255.0 - sector), s = float(c.s / 255.0), v = c.v;
  auto round = [](double x) { return uint8_t(std::round(x)); };
  const uint8_t p = round(v * (1.0 - s)), q = round(v * (1.0 - s * f)), t = round(v * (1.0 - s * (1.0 - f)));
  const uint8_t parts[6][3] = {{c.v, t, p}, {q, c.v, p}, {p, c.v, t}, {p, q, c.v}, {t, p, c.v}, {c.v, p, q}};
  std::memcpy(rgb, parts[sector % 6], 3);
}

// Uniform numbers of one sample, in the order they are asked for.
class Draws {
 public:
  Draws(uint64_t seed, int64_t epoch, int64_t sample) : key_{.seed = seed, .step = uint32_t(epoch), .site = 0xa06u}, sample_(sample) {}
  double uniform(double low, double high) { return low + (high - low) * next(); }
  int64_t below(int64_t n) { return std::min(int64_t(next() * double(n)), n - 1); }

 private:
  double next() {  // [0, 1), 53 bits
    Random4 r = random4(key_, uint64_t(sample_) << 8 | count_++);
    return double((uint64_t(r.v[0]) << 21) ^ (r.v[1] >> 11)) * 0x1p-53;
  }
  RandomKey key_;
  int64_t sample_;
  uint64_t count_ = 0;
};

// torchvision's RandomResizedCrop.get_params, but for the generator.
Image random_crop(const Image& image, const Augmentation& a, Draws& draws) {
  const double area = double(image.width) * double(image.height);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * draws.uniform(a.min_scale, a.max_scale),
                 ratio = std::exp(draws.uniform(std::log(a.min_ratio), std::log(a.max_ratio)));
    const int width = int(std::nearbyint(std::sqrt(target * ratio))), height = int(std::nearbyint(std::sqrt(target / ratio)));
    if (width < 1 || height < 1 || width > image.width || height > image.height) { continue; }
    const int top = int(draws.below(image.height - height + 1)), left = int(draws.below(image.width - width + 1));
    return crop(image, left, top, width, height);
  }
  const double ratio = double(image.width) / double(image.height);
  int width = image.width, height = image.height;
  if (ratio < a.min_ratio) { height = int(std::nearbyint(double(width) / a.min_ratio)); }
  else if (ratio > a.max_ratio) { width = int(std::nearbyint(double(height) * a.max_ratio)); }
  return crop(image, (image.width - width) / 2, (image.height - height) / 2, width, height);
}

Image jittered(Image image, const Augmentation& a, Draws& draws) {
  int order[4] = {0, 1, 2, 3};
  for (int i = 3; i > 0; --i) { std::swap(order[i], order[draws.below(i + 1)]); }
  const double strength[4] = {a.brightness, a.contrast, a.saturation, a.hue};
  for (int which : order) {
    const double v = strength[which], drawn = which == 3 ? draws.uniform(-v, v) : draws.uniform(std::max(0.0, 1 - v), 1 + v);
    if (v <= 0) { continue; }
    const float factor = float(drawn);
    image = which == 0   ? with_brightness(image, factor)
            : which == 1 ? with_contrast(image, factor)
            : which == 2 ? with_saturation(image, factor)
                         : with_hue(image, drawn);
  }
  return image;
}

}  // namespace

void Augmentation::validate() const {
  REQUIRE(UsageError, min_scale > 0 && min_scale <= max_scale && max_scale <= 1,
          "[augment] --aug-scale must be two shares of the area such as 0.9,1, the smaller one first, got ",
          min_scale, " and ", max_scale);
  REQUIRE(UsageError, min_ratio > 0 && min_ratio <= max_ratio, "[augment] ratios must be positive, the smaller one first, got ", min_ratio, " and ",
          max_ratio);
  REQUIRE(UsageError, flip >= 0 && flip <= 1 && grey >= 0 && grey <= 1, "[augment] --aug-flip and --aug-gray are probabilities in [0, 1], got ", flip,
          " and ", grey);
  for (double v : {brightness, contrast, saturation}) {
    REQUIRE(UsageError, v >= 0 && v <= 10, "[augment] --aug-color-jitter must be in [0, 10], got ", v);
  }
  REQUIRE(UsageError, hue >= 0 && hue <= 0.5, "[augment] the fourth number of --aug-color-jitter, the turn of the hue, must be in [0, 0.5], got ",
          hue);
}

Image augment(const Image& image, int size, const Augmentation& a, uint64_t seed, int64_t epoch, int64_t sample) {
  if (!a.any()) { return resize_and_crop(image, size); }
  Draws draws(seed, epoch, sample);
  Image out = a.min_scale < 1 ? resize(random_crop(image, a, draws), size, size) : resize_and_crop(image, size);
  if (draws.uniform(0, 1) < a.flip) { out = mirrored(out); }
  out = jittered(std::move(out), a, draws);
  return draws.uniform(0, 1) < a.grey ? grey(out) : out;
}

Image crop(const Image& image, int left, int top, int width, int height) {
  REQUIRE(ShapeError, left >= 0 && top >= 0 && width > 0 && height > 0 && left + width <= image.width && top + height <= image.height, "[crop] ",
          width, " x ", height, " at (", left, ", ",
          top, ") does not lie inside ", image.width, " x ", image.height);
  Image out{width, height, std::vector<uint8_t>(size_t(width) * size_t(height) * 3)};
  for (int y = 0; y < height; ++y) {
    std::memcpy(&out.rgb[size_t(y) * size_t(width) * 3], &image.rgb[(size_t(top + y) * size_t(image.width) + size_t(left)) * 3], size_t(width) * 3);
  }
  return out;
}

Image mirrored(const Image& image) {
  Image out = image;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      std::memcpy(&out.rgb[(size_t(y) * size_t(image.width) + size_t(x)) * 3],
                  &image.rgb[(size_t(y) * size_t(image.width) + size_t(image.width - 1 - x)) * 3], 3);
    }
  }
  return out;
}

Image grey(const Image& image) {
  Image out = image;
  for (size_t i = 0; i < out.rgb.size(); i += 3) { out.rgb[i] = out.rgb[i + 1] = out.rgb[i + 2] = luma(&image.rgb[i]); }
  return out;
}

Image with_brightness(const Image& image, float factor) {
  Image out = image;
  for (uint8_t& v : out.rgb) { v = blend(0, v, factor); }
  return out;
}

Image with_contrast(const Image& image, float factor) {
  uint64_t sum = 0;
  for (size_t i = 0; i < image.rgb.size(); i += 3) { sum += luma(&image.rgb[i]); }
  const uint8_t mean = uint8_t(double(sum) / double(image.rgb.size() / 3) + 0.5);
  Image out = image;
  for (uint8_t& v : out.rgb) { v = blend(mean, v, factor); }
  return out;
}

Image with_saturation(const Image& image, float factor) {
  Image out = image;
  for (size_t i = 0; i < out.rgb.size(); i += 3) {
    const uint8_t l = luma(&image.rgb[i]);
    for (size_t c = 0; c < 3; ++c) { out.rgb[i + c] = blend(l, image.rgb[i + c], factor); }
  }
  return out;
}

Image with_hue(const Image& image, double turn) {
  const uint8_t step = uint8_t(int(turn * 255));  // the fraction is cut off; sums wrap around the circle
  Image out = image;
  for (size_t i = 0; i < out.rgb.size(); i += 3) {
    Hsv c = to_hsv(&image.rgb[i]);
    c.h = uint8_t(c.h + step);
    to_rgb(c, &out.rgb[i]);
  }
  return out;
}

}  // namespace pumice
