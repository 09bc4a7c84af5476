#include <algorithm>
#include <cmath>

#include "pumice/data/image.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr int kPrecision = 22;  // bits of a fixed-point coefficient

double bilinear(double x) {
  x = std::abs(x);
  return x < 1 ? 1 - x : 0;
}

double bicubic(double x) {  // Keys, with a = -0.5
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) { return ((a + 2) * x - (a + 3)) * x * x + 1; }
  if (x < 2) { return (((x - 5) * x + 8) * x - 4) * a; }
  return 0;
}

// For each output position: where its window begins, how long it is, and its coefficients.
struct Window { int first, count; };
struct Weights {
  int width = 0;  // coefficients kept per position
  std::vector<Window> windows;
  std::vector<int32_t> values;
};

Weights weights_of(int in, int out, Filter filter) {
  const double scale = double(in) / out, filter_scale = std::max(scale, 1.0), support = (filter == Filter::bicubic ? 2.0 : 1.0) * filter_scale;
  auto shape = filter == Filter::bicubic ? bicubic : bilinear;
  Weights w;
  w.width = int(std::ceil(support)) * 2 + 1;
  w.values.assign(size_t(out) * size_t(w.width), 0);
  std::vector<double> window(size_t(w.width));
  for (int x = 0; x < out; ++x) {
    const double centre = (x + 0.5) * scale;
    const int first = std::max(0, int(centre - support + 0.5)), last = std::min(in, int(centre + support + 0.5));
    double total = 0;
    for (int i = 0; i < last - first; ++i) { total += window[size_t(i)] = shape((i + first - centre + 0.5) * (1.0 / filter_scale)); }
    for (int i = 0; i < last - first; ++i) {
      double v = total != 0 ? window[size_t(i)] / total : window[size_t(i)];
      w.values[size_t(x) * size_t(w.width) + size_t(i)] = int32_t((v < 0 ? -0.5 : 0.5) + v * (1 << kPrecision));
    }
    w.windows.push_back({first, last - first});
  }
  return w;
}

uint8_t clip(int32_t sum) { return uint8_t(std::clamp(sum >> kPrecision, 0, 255)); }

Image across(const Image& in, int width, Filter filter) {
  const Weights w = weights_of(in.width, width, filter);
  Image out{width, in.height, std::vector<uint8_t>(size_t(width) * size_t(in.height) * 3)};
  for (int y = 0; y < in.height; ++y) {
    const uint8_t* row = in.rgb.data() + size_t(y) * size_t(in.width) * 3;
    uint8_t* to = out.rgb.data() + size_t(y) * size_t(width) * 3;
    for (int x = 0; x < width; ++x, to += 3) {
      const int32_t* k = w.values.data() + size_t(x) * size_t(w.width);
      const uint8_t* p = row + size_t(w.windows[size_t(x)].first) * 3;
      int32_t r = 1 << (kPrecision - 1), g = r, b = r;
      for (int i = 0; i < w.windows[size_t(x)].count; ++i, p += 3) {
        r += p[0] * k[i];
        g += p[1] * k[i];
        b += p[2] * k[i];
      }
      to[0] = clip(r);
      to[1] = clip(g);
      to[2] = clip(b);
    }
  }
  return out;
}

Image down(const Image& in, int height, Filter filter) {
  const Weights w = weights_of(in.height, height, filter);
  const size_t stride = size_t(in.width) * 3;
  Image out{in.width, height, std::vector<uint8_t>(stride * size_t(height))};
  std::vector<int32_t> sums(stride);
  for (int y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), 1 << (kPrecision - 1));
    const Window window = w.windows[size_t(y)];
    for (int i = 0; i < window.count; ++i) {
      const int32_t k = w.values[size_t(y) * size_t(w.width) + size_t(i)];
      const uint8_t* row = in.rgb.data() + size_t(window.first + i) * stride;
      for (size_t c = 0; c < stride; ++c) { sums[c] += row[c] * k; }
    }
    uint8_t* to = out.rgb.data() + size_t(y) * stride;
    for (size_t c = 0; c < stride; ++c) { to[c] = clip(sums[c]); }
  }
  return out;
}

// round(x / 2) to even, as Python rounds the margins of torchvision's centre crop.
int half_to_even(int x) { return x % 2 == 0 ? x / 2 : (x / 2 % 2 == 0 ? x / 2 : x / 2 + 1); }

}  // namespace

Image resize(const Image& image, int width, int height, Filter filter) {
  REQUIRE(ShapeError, width > 0 && height > 0 && image.width > 0 && image.height > 0, "[resize] sizes must be positive, got ", image.width, " x ",
          image.height, " to ", width, " x ", height);
  Image out = image.width == width ? image : across(image, width, filter);
  return out.height == height ? out : down(out, height, filter);
}

Image resize_and_crop(const Image& image, int size) {
  const int shorter = std::min(image.width, image.height), longer = std::max(image.width, image.height);
  const int other = int(int64_t(size) * longer / shorter);
  const bool wide = image.width >= image.height;
  Image r = resize(image, wide ? other : size, wide ? size : other);
  if (r.width == size && r.height == size) { return r; }
  const int left = half_to_even(r.width - size), top = half_to_even(r.height - size);
  Image out{size, size, {}};
  out.rgb.reserve(size_t(size) * size_t(size) * 3);
  for (int y = 0; y < size; ++y) {
    const uint8_t* row = r.rgb.data() + (size_t(top + y) * size_t(r.width) + size_t(left)) * 3;
    out.rgb.insert(out.rgb.end(), row, row + size_t(size) * 3);
  }
  return out;
}

}  // namespace pumice
