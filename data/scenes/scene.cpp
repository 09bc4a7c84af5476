#include "pumice/data/scenes/scene.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace pumice {
namespace {

struct NamedColour { const char* name; uint8_t rgb[3]; };
constexpr NamedColour kBackgrounds[] = {{"white", {238, 238, 236}}, {"gray", {150, 152, 155}}, {"blue", {105, 150, 215}},
                                        {"green", {125, 180, 120}}, {"yellow", {232, 216, 130}}, {"pink", {232, 172, 190}},
                                        {"purple", {160, 135, 200}}, {"brown", {160, 128, 98}}};
constexpr const char* kNumbers[] = {"zero", "one", "two", "three", "four"};

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// One in eight pairs of concepts, and one in eight of a concept with a count, never appear in train.
bool held_out(int64_t a, int64_t b) { return mix(uint64_t(a) * 1000003 + uint64_t(b) + 17) % 8 == 0; }

void place(Scene& s, int64_t concept_index, double x, double y, double diameter, const Catalogue& catalogue, SceneRandom& r) {
  const double hue = catalogue.concepts()[size_t(concept_index)].colour_in_name ? 10 : 30;
  s.objects.push_back({concept_index, x, y, diameter, r.range(-20, 20), r.range(-hue, hue), r.range(0.7, 1.3), r.range(0.7, 1.3)});
}

void choose_background(Scene& s, SceneRandom& r) {
  const NamedColour& c = kBackgrounds[r.below(std::size(kBackgrounds))];
  s.background = c.name;
  std::copy(c.rgb, c.rgb + 3, s.background_rgb);
  s.texture = int(r.below(3));
  s.texture_key = r.bits();
}

// Hue rotation, saturation and brightness as one matrix on RGB (rotation about the grey axis in YIQ).
struct ColourMatrix {
  float m[9];
  ColourMatrix(double hue, double saturation, double brightness) {
    const double c = saturation * std::cos(hue * M_PI / 180), s = saturation * std::sin(hue * M_PI / 180);
    const double rows[9] = {0.299 + 0.701 * c + 0.168 * s, 0.587 - 0.587 * c + 0.330 * s, 0.114 - 0.114 * c - 0.497 * s,
                            0.299 - 0.299 * c - 0.328 * s, 0.587 + 0.413 * c + 0.035 * s, 0.114 - 0.114 * c + 0.292 * s,
                            0.299 - 0.300 * c + 1.250 * s, 0.587 - 0.588 * c - 1.050 * s, 0.114 + 0.886 * c - 0.203 * s};
    for (int i = 0; i < 9; ++i) { m[i] = float(rows[i] * brightness); }
  }
  void apply(const float* in, float* out) const {
    for (int i = 0; i < 3; ++i) { out[i] = std::clamp(m[3 * i] * in[0] + m[3 * i + 1] * in[1] + m[3 * i + 2] * in[2], 0.0f, 1.0f); }
  }
};

// Smooth value noise on a grid of `cell` pixels.
double value_noise(uint64_t key, double x, double y) {
  auto corner = [&](int64_t i, int64_t j) { return double(mix(key ^ (uint64_t(i + 512) << 20 | uint64_t(j + 512))) >> 11) * 0x1p-53; };
  const int64_t i = int64_t(std::floor(x)), j = int64_t(std::floor(y));
  const double u = x - double(i), v = y - double(j);
  return (corner(i, j) * (1 - u) + corner(i + 1, j) * u) * (1 - v) + (corner(i, j + 1) * (1 - u) + corner(i + 1, j + 1) * u) * v;
}

void paint_background(const Scene& s, int64_t size, std::vector<float>& canvas) {
  const double angle = double(s.texture_key % 360) * M_PI / 180, period = 6 + double(s.texture_key >> 20 & 7),
               cell = 5 + double(s.texture_key >> 24 & 7);
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      const double u = (double(x) * std::cos(angle) + double(y) * std::sin(angle)) * 64 / double(size);
      double shade = 1;
      if (s.texture == 0) {
        shade = 1 + 0.30 * (u / 64);
      } else if (s.texture == 1) {
        shade = 0.75 + 0.5 * value_noise(s.texture_key, double(x) * 64 / double(size) / cell, double(y) * 64 / double(size) / cell);
      } else {
        shade = std::fmod(u + 1024, period) < period / 2 ? 1.1 : 0.88;
      }
      for (int k = 0; k < 3; ++k) { canvas[size_t((y * size + x) * 3 + k)] = float(std::clamp(double(s.background_rgb[k]) / 255 * shade, 0.0, 1.0)); }
    }
  }
}

void paint_object(const Placed& o, const Catalogue& catalogue, int64_t size, std::vector<float>& canvas) {
  const Sprite& sprite = catalogue.sprite(o.concept_index, o.diameter);
  const ColourMatrix colour(o.hue, o.saturation, o.brightness);
  const double c = std::cos(o.turn * M_PI / 180), s = std::sin(o.turn * M_PI / 180), scale = double(sprite.size) / o.diameter,
               reach = o.diameter * 0.71;
  for (int64_t y = std::max<int64_t>(0, int64_t(o.y - reach)); y < std::min(size, int64_t(o.y + reach) + 1); ++y) {
    for (int64_t x = std::max<int64_t>(0, int64_t(o.x - reach)); x < std::min(size, int64_t(o.x + reach) + 1); ++x) {
      const double dx = double(x) + 0.5 - o.x, dy = double(y) + 0.5 - o.y;
      const double u = (c * dx + s * dy) * scale + sprite.size * 0.5 - 0.5, v = (c * dy - s * dx) * scale + sprite.size * 0.5 - 0.5;
      const int i = int(std::floor(u)), j = int(std::floor(v));
      if (i < -1 || j < -1 || i >= sprite.size || j >= sprite.size) { continue; }
      float rgb[3] = {}, alpha = 0;
      for (int corner = 0; corner < 4; ++corner) {  // bilinear, on premultiplied colours
        const int px = i + corner % 2, py = j + corner / 2;
        if (px < 0 || py < 0 || px >= sprite.size || py >= sprite.size) { continue; }
        const double weight = (corner % 2 ? u - i : 1 - (u - i)) * (corner / 2 ? v - j : 1 - (v - j));
        const float *p = &sprite.rgba[(size_t(py) * size_t(sprite.size) + size_t(px)) * 4], share = float(weight) * p[3];
        for (int k = 0; k < 3; ++k) { rgb[k] += share * p[k]; }
        alpha += share;
      }
      if (alpha <= 0) { continue; }
      for (float& channel : rgb) { channel /= alpha; }
      float shifted[3];
      colour.apply(rgb, shifted);
      float* to = &canvas[size_t((y * size + x) * 3)];
      for (int k = 0; k < 3; ++k) { to[k] += alpha * (shifted[k] - to[k]); }
    }
  }
}

std::string article(const std::string& noun) { return std::string(std::string("aeiou").find(noun[0]) != std::string::npos ? "an " : "a ") + noun; }

std::string pick(std::initializer_list<const char*> patterns, SceneRandom& r) { return patterns.begin()[r.below(int64_t(patterns.size()))]; }

std::string fill_in(std::string pattern, const std::string& a, const std::string& b) {
  for (const auto& [slot, text] : {std::pair<std::string, const std::string&>{"%1", a}, {"%2", b}}) {
    size_t at = pattern.find(slot);
    if (at != std::string::npos) { pattern.replace(at, slot.size(), text); }
  }
  return pattern;
}

}  // namespace

SceneRandom::SceneRandom(uint64_t seed, uint64_t split, uint64_t index) : state_(mix(mix(seed + 0x9e3779b97f4a7c15ull) ^ (split << 56) ^ index)) {}
uint64_t SceneRandom::bits() { return mix(state_ += 0x9e3779b97f4a7c15ull); }
double SceneRandom::unit() { return double(bits() >> 11) * 0x1p-53; }
double SceneRandom::range(double low, double high) { return low + (high - low) * unit(); }
int64_t SceneRandom::below(int64_t n) { return int64_t(unit() * double(n)); }

Scene sample_object(int64_t concept_index, const Catalogue& catalogue, int64_t size, SceneRandom& r) {
  Scene s;
  s.first = concept_index;
  choose_background(s, r);
  const double diameter = double(size) * r.range(0.5, 0.85), slack = (double(size) - diameter) / 2;
  place(s, concept_index, double(size) / 2 + r.range(-slack, slack), double(size) / 2 + r.range(-slack, slack), diameter, catalogue, r);
  return s;
}

Scene sample_scene(SceneSplit split, int64_t concepts, const Catalogue& catalogue, int64_t size, SceneRandom& r) {
  const bool wants_held_out = split == SceneSplit::compositional;
  const double kind = wants_held_out ? r.range(0.6, 1) : r.unit();
  if (kind < 0.6) { return sample_object(r.below(concepts), catalogue, size, r); }
  Scene s;
  choose_background(s, r);
  const double S = double(size);
  if (kind < 0.8) {  // two to four of one kind, on a grid of two by two
    s.kind = Scene::kCount;
    int64_t count;
    do {
      s.first = r.below(concepts);
      count = 2 + r.below(3);
    } while (held_out(s.first, -count) != wants_held_out);
    int cells[4] = {0, 1, 2, 3};
    for (int i = 3; i > 0; --i) { std::swap(cells[i], cells[r.below(i + 1)]); }
    const double diameter = S * r.range(0.36, 0.46);
    for (int64_t i = 0; i < count; ++i) {
      place(s, s.first, S * (cells[i] % 2 ? 0.73 : 0.27) + r.range(-2, 2) * S / 64, S * (cells[i] / 2 ? 0.73 : 0.27) + r.range(-2, 2) * S / 64,
            diameter, catalogue, r);
    }
    return s;
  }
  s.kind = Scene::kPair;
  do {
    s.first = r.below(concepts);
    s.second = r.below(concepts);
  } while (s.first == s.second || held_out(s.first, s.second) != wants_held_out);
  s.above = r.unit() < 0.5;
  for (int i = 0; i < 2; ++i) {
    const double along = S * (i ? 0.74 : 0.26), across = S * r.range(0.35, 0.65), diameter = S * r.range(0.42, 0.54);
    place(s, i ? s.second : s.first, s.above ? across : along, s.above ? along : across, diameter, catalogue, r);
  }
  return s;
}

Image draw_scene(const Scene& scene, const Catalogue& catalogue, int64_t size) {
  std::vector<float> canvas(size_t(size * size * 3));
  paint_background(scene, size, canvas);
  for (const Placed& o : scene.objects) { paint_object(o, catalogue, size, canvas); }
  Image image{int(size), int(size), std::vector<uint8_t>(canvas.size())};
  for (size_t i = 0; i < canvas.size(); ++i) { image.rgb[i] = uint8_t(std::lround(std::clamp(canvas[i], 0.0f, 1.0f) * 255)); }
  return image;
}

std::string caption_of(const Scene& s, const Catalogue& catalogue, SceneSplit split, SceneRandom& r) {
  const bool unseen = split == SceneSplit::templates;
  const Concept& a = catalogue.concepts()[size_t(s.first)];
  if (s.kind == Scene::kSingle) {
    std::string pattern =
        unseen ? pick({"here you can see %1", "this shows %1 in front of %2"}, r)
               : pick({"%1", "a picture of %1", "a photo of %1.", "an image of %1", "%1 on a %2 background", "%1 on %2", "there is %1"}, r);
    return fill_in(pattern, article(a.name), s.background);
  }
  if (s.kind == Scene::kCount) {
    const size_t n = s.objects.size();
    std::string counted = std::string(kNumbers[n]) + " " + a.plural;
    std::string pattern = unseen ? pick({"here you can see %1", "this shows %1 in front of %2"}, r)
                                 : pick({"%1", "a picture of %1", "%1 on a %2 background", "there are %1"}, r);
    return fill_in(pattern, counted, s.background);
  }
  const Concept& b = catalogue.concepts()[size_t(s.second)];
  const bool turned = r.unit() < 0.5;  // the same truth seen from the other object
  std::string relation = s.above ? (turned ? "below" : "above") : (turned ? "right of" : "left of");
  std::string one = article(turned ? b.name : a.name), other = article(turned ? a.name : b.name);
  if (unseen) { return pick({"here you can see ", "this shows "}, r) + one + " " + relation + " " + other; }
  if (r.unit() < 0.3) { return one + " and " + other; }
  return one + " " + relation + " " + other;
}

std::string truth_json(const Scene& s, const Catalogue& catalogue, const std::vector<std::string>& captions) {
  nlohmann::ordered_json j;
  j["captions"] = captions;
  j["background"] = s.background;
  j["objects"] = nlohmann::ordered_json::array();
  for (const Placed& o : s.objects) {
    const Concept& c = catalogue.concepts()[size_t(o.concept_index)];
    auto pixel = [](double v) { return std::round(v * 10) / 10; };
    const double half = o.diameter / 2;
    j["objects"].push_back({{"concept", c.name}, {"category", c.category},
                            {"box", {pixel(o.x - half), pixel(o.y - half), pixel(o.x + half), pixel(o.y + half)}}});
  }
  return j.dump();
}

}  // namespace pumice
