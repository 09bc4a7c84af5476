#include "pumice/data/picture_input.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

using nlohmann::json;

// A line of pixels is a small file, and a square around it, or its shorter edge made long, more than memory holds.
void require_pixels(const Image& image, int64_t pixels, const char* fit) {
  constexpr int64_t kMost = int64_t(1) << 28;
  REQUIRE(ShapeError, pixels <= kMost, "[picture] to ", fit, " a picture of ", image.width, " x ", image.height, " takes ", pixels,
          " pixels on the way, more than ", kMost, ": cut it, or squash it");
}

Image padded(const Image& image, const PictureInput& input) {
  require_pixels(image, int64_t(std::max(image.width, image.height)) * std::max(image.width, image.height), "pad");
  const int side = std::max(image.width, image.height), left = (side - image.width) / 2, top = (side - image.height) / 2;
  Image square{side, side, std::vector<uint8_t>(size_t(side) * side * 3)};
  for (size_t i = 0; i < square.rgb.size(); ++i) { square.rgb[i] = uint8_t(int(255 * double(input.mean[i % 3]))); }
  for (int y = 0; y < image.height; ++y) {
    std::copy_n(image.rgb.begin() + long(size_t(y) * image.width * 3), image.width * 3, square.rgb.begin() + long((size_t(top + y) * side + left) * 3));
  }
  return square;
}

// The centre, found by rounding down; black where there is no picture.
Image cropped(const Image& image, int size) {
  if (image.width == size && image.height == size) { return image; }
  const int left = (image.width - size) >> 1, top = (image.height - size) >> 1;
  const int begin = std::max(left, 0), count = std::min(left + size, image.width) - begin;
  Image out{size, size, std::vector<uint8_t>(size_t(size) * size * 3)};
  for (int y = std::max(0, -top); y < std::min(size, image.height - top); ++y) {
    std::copy_n(image.rgb.begin() + long((size_t(top + y) * image.width + begin) * 3), count * 3,
                out.rgb.begin() + long((size_t(y) * size + begin - left) * 3));
  }
  return out;
}

Image resized(const Image& image, const PictureInput& input) {
  const int64_t edge = input.edge ? input.edge : input.size, w = image.width, h = image.height;
  if (input.fit == PictureInput::Fit::squash) { return resize(image, int(edge), int(edge), input.filter); }
  if (input.fit == PictureInput::Fit::pad) { return resize(padded(image, input), int(edge), int(edge), input.filter); }
  require_pixels(image, edge * std::max(edge, edge * std::max(w, h) / std::min(w, h)), "crop");
  return w <= h ? resize(image, int(edge), int(edge * h / w), input.filter) : resize(image, int(edge * w / h), int(edge), input.filter);
}

// {"height": n, "width": n}, {"shortest_edge": n} or n.
int64_t edge_of(const json& size, const std::string& source) {
  const json* edge = &size;
  if (size.is_object()) {
    const auto at = size.contains("shortest_edge") ? size.find("shortest_edge") : size.find("height");
    REQUIRE(FormatError, at != size.end(), source, ": a size must have \"shortest_edge\" or \"height\", got ", size.dump());
    REQUIRE(FormatError, !size.contains("width") || !size.contains("height") || size["width"] == size["height"], source, ": a size must be square, got ", size.dump());
    edge = &*at;
  }
  REQUIRE(FormatError, edge->is_number_integer() && *edge >= 1 && *edge <= 8192, source, ": a size must be an integer from 1 to 8192, got ", size.dump());
  return edge->get<int64_t>();
}

void read_three(const json& object, const char* name, const std::string& source, float (&to)[3]) {
  const auto at = object.find(name);
  if (at == object.end()) { return; }
  REQUIRE(FormatError, at->is_array() && at->size() == 3 && (*at)[0].is_number() && (*at)[1].is_number() && (*at)[2].is_number(), source, ": \"", name,
          "\" must be three numbers, got ", at->dump());
  for (int c = 0; c < 3; ++c) { to[c] = (*at)[c].get<float>(); }
}

}  // namespace

PictureInput picture_input_from_hf(const std::string& text, const std::string& source) {
  json value;
  const std::string fault = parse_strict_json(text, 16, value);
  REQUIRE(FormatError, fault.empty() && value.is_object(), source, ": ", fault.empty() ? "must hold an object" : fault);
  PictureInput p;
  const auto does = [&](const char* name) {
    const auto at = value.find(name);
    if (at == value.end() || at->is_null()) { return true; }
    REQUIRE(FormatError, at->is_boolean(), source, ": \"", name, "\" must be true or false, got ", at->dump());
    return at->get<bool>();
  };
  for (const char* step : {"do_resize", "do_rescale", "do_normalize"}) {
    REQUIRE(FormatError, does(step), source, ": \"", step, "\": false is not supported, only true");
  }
  const auto factor = value.find("rescale_factor");
  REQUIRE(FormatError, factor == value.end() || (factor->is_number() && std::abs(factor->get<double>() * 255 - 1) < 1e-3), source,
          ": \"rescale_factor\" must be 1/255, got ", factor == value.end() ? "" : factor->dump());
  const bool crops = does("do_center_crop") && value.contains("crop_size"), sized = value.contains("size");
  const bool keeps_shape = sized && value["size"].is_object() ? value["size"].contains("shortest_edge") : crops;
  p.fit = keeps_shape ? PictureInput::Fit::crop : PictureInput::Fit::squash;
  if (sized) { p.size = edge_of(value["size"], source); }
  if (crops) {
    if (sized) { p.edge = p.size; }
    p.size = edge_of(value["crop_size"], source);
  }
  read_three(value, "image_mean", source, p.mean);
  read_three(value, "image_std", source, p.std);
  for (float s : p.std) { REQUIRE(FormatError, s > 0, source, ": \"image_std\" must be above 0, got ", s); }
  const json& resample = value.contains("resample") ? value["resample"] : json(3);
  REQUIRE(FormatError, resample == 2 || resample == 3, source, ": \"resample\" must be 2 (bilinear) or 3 (bicubic), got ", resample.dump());
  p.filter = resample == 2 ? Filter::bilinear : Filter::bicubic;
  return p;
}

Tensor picture_tensor(const Image& image, const PictureInput& input) {
  REQUIRE(ShapeError, image.width >= 1 && image.height >= 1, "[picture] a picture needs pixels, got ", image.width, " x ", image.height);
  const Image square = cropped(resized(image, input), int(input.size));
  const int64_t n = input.size * input.size;
  Tensor out = empty({3, input.size, input.size});
  float* to = out.data<float>();
  for (int64_t i = 0; i < n; ++i) {
    for (int c = 0; c < 3; ++c) { to[c * n + i] = (float(square.rgb[size_t(i * 3 + c)]) / 255.0f - input.mean[c]) / input.std[c]; }
  }
  return out;
}

}  // namespace pumice
