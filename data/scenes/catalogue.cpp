#include "pumice/data/scenes/catalogue.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "pumice/data/scenes/scenes.h"
#include "pumice/tensor/error.h"

#if PUMICE_FREETYPE
#include <ft2build.h>
#include FT_FREETYPE_H
#endif

namespace pumice {
namespace {

struct Row { uint32_t code_point; const char *name, *plural, *category; bool colour_in_name; };
constexpr Row kEmoji[] = {
#include "pumice/data/scenes/concepts.inc"
};

struct NamedColour { const char* name; uint8_t rgb[3]; };
constexpr NamedColour kColours[] = {{"red", {214, 40, 40}}, {"green", {52, 160, 80}}, {"blue", {45, 90, 200}}, {"yellow", {240, 205, 50}},
                                    {"purple", {140, 70, 180}}, {"orange", {240, 135, 40}}, {"pink", {240, 130, 180}}, {"brown", {120, 80, 50}}};
constexpr const char* kShapes[] = {"circle", "square", "triangle", "star", "ring", "cross", "heart", "moon", "diamond", "hexagon"};

// Signed distance-like value of shape s at (x, y) in [-1, 1]^2: inside where positive.
double inside(int s, double x, double y) {
  const double r = std::hypot(x, y), angle = std::atan2(y, x);
  auto polygon = [&](int n, double turn) {
    return 0.85 - r * std::cos(std::fmod(angle + turn + 4 * M_PI, 2 * M_PI / n) - M_PI / n) / std::cos(M_PI / n) * std::cos(M_PI / n);
  };
  switch (s) {
    case 0: return 0.85 - r;
    case 1: return 0.75 - std::max(std::abs(x), std::abs(y));
    case 2: return std::min(0.65 - y, 0.9 + y - 1.75 * std::abs(x) - 0.2);
    case 3: return 0.5 + 0.38 * std::cos(5 * (angle + M_PI / 2)) - r;
    case 4: return 0.22 - std::abs(r - 0.6);
    case 5: return std::max(std::min(0.26 - std::abs(x), 0.85 - std::abs(y)), std::min(0.26 - std::abs(y), 0.85 - std::abs(x)));
    case 6: {  // (x^2 + y^2 - 1)^3 < x^2 y^3, upside up
      const double u = x * 1.25, v = -y * 1.25 + 0.15, q = u * u + v * v - 1;
      return (u * u * v * v * v - q * q * q) * 0.4;
    }
    case 7: return std::min(0.85 - r, std::hypot(x - 0.4, y) - 0.68);
    case 8: return 0.85 - std::abs(x) * 1.35 - std::abs(y);
    default: return polygon(6, 0);
  }
}

Sprite draw_shape(const Concept& c, int size) {
  Sprite s{size, std::vector<float>(size_t(size) * size_t(size) * 4)};
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      double value = inside(c.shape, 2 * (x + 0.5) / size - 1, 2 * (y + 0.5) / size - 1);
      float* p = &s.rgba[(size_t(y) * size_t(size) + size_t(x)) * 4];
      for (int k = 0; k < 3; ++k) { p[k] = float(c.rgb[k]) / 255; }
      p[3] = float(std::clamp(value * size / 2 + 0.5, 0.0, 1.0));
    }
  }
  return s;
}

Sprite half(const Sprite& s) {
  Sprite h{s.size / 2, std::vector<float>(size_t(s.size / 2) * size_t(s.size / 2) * 4)};
  for (int y = 0; y < h.size; ++y) {
    for (int x = 0; x < h.size; ++x) {
      float sum[4] = {}, *to = &h.rgba[(size_t(y) * size_t(h.size) + size_t(x)) * 4];
      for (int i = 0; i < 4; ++i) {
        const float* p = &s.rgba[(size_t(2 * y + i / 2) * size_t(s.size) + size_t(2 * x + i % 2)) * 4];
        for (int k = 0; k < 3; ++k) { sum[k] += p[k] * p[3]; }
        sum[3] += p[3];
      }
      for (int k = 0; k < 3; ++k) { to[k] = sum[3] > 0 ? sum[k] / sum[3] : 0; }
      to[3] = sum[3] / 4;
    }
  }
  return h;
}

#if PUMICE_FREETYPE
class Font {
 public:
  explicit Font(const std::string& path) : path_(path) {
    bool ok = FT_Init_FreeType(&library_) == 0 && FT_New_Face(library_, path.c_str(), 0, &face_) == 0 && FT_HAS_COLOR(face_) &&
              face_->num_fixed_sizes > 0 && FT_Select_Size(face_, 0) == 0;
    if (!ok) { close(); }
    REQUIRE(FormatError, ok, "[scenes] ", path,
            " is not a colour bitmap font. Give NotoColorEmoji.ttf, or leave --font out to use what is installed");
  }
  ~Font() { close(); }
  Font(const Font&) = delete;
  Font& operator=(const Font&) = delete;

  Sprite draw(const Concept& c) {
    FT_UInt glyph = FT_Get_Char_Index(face_, c.code_point);
    bool ok = glyph && FT_Load_Glyph(face_, glyph, FT_LOAD_COLOR) == 0 && face_->glyph->bitmap.pixel_mode == FT_PIXEL_MODE_BGRA;
    REQUIRE(FormatError, ok, "[scenes] ", path_, " has no picture of '", c.name, "' (U+", std::hex, c.code_point, ")");
    const FT_Bitmap& b = face_->glyph->bitmap;
    const int size = (int(std::max(b.width, b.rows)) + 7) / 8 * 8, left = (size - int(b.width)) / 2, top = (size - int(b.rows)) / 2;
    Sprite s{size, std::vector<float>(size_t(size) * size_t(size) * 4)};
    for (int y = 0; y < int(b.rows); ++y) {
      for (int x = 0; x < int(b.width); ++x) {
        const uint8_t* from = b.buffer + y * b.pitch + 4 * x;  // premultiplied BGRA
        float* to = &s.rgba[(size_t(y + top) * size_t(size) + size_t(x + left)) * 4];
        const float alpha = float(from[3]) / 255;
        for (int k = 0; k < 3; ++k) { to[k] = alpha > 0 ? std::min(1.0f, float(from[2 - k]) / 255 / alpha) : 0; }
        to[3] = alpha;
      }
    }
    return s;
  }

 private:
  void close() {
    if (face_) { FT_Done_Face(face_); }
    if (library_) { FT_Done_FreeType(library_); }
  }
  std::string path_;
  FT_Library library_ = nullptr;
  FT_Face face_ = nullptr;
};
#endif

// Takes from each category in turn until `limit` are chosen; the result is in the order of `all`.
std::vector<Concept> spread(const std::vector<Concept>& all, int64_t limit) {
  std::map<std::string, std::vector<size_t>> by_category;
  for (size_t i = 0; i < all.size(); ++i) { by_category[all[i].category].push_back(i); }
  std::vector<size_t> chosen;
  for (size_t round = 0; int64_t(chosen.size()) < limit && chosen.size() < all.size(); ++round) {
    for (auto& [category, members] : by_category) {
      if (round < members.size() && int64_t(chosen.size()) < limit) { chosen.push_back(members[round]); }
    }
  }
  std::sort(chosen.begin(), chosen.end());
  std::vector<Concept> result;
  for (size_t i : chosen) { result.push_back(all[i]); }
  return result;
}

}  // namespace

std::vector<Concept> emoji_concepts(int64_t limit) {
  std::vector<Concept> all;
  for (const Row& r : kEmoji) { all.push_back({r.code_point, r.name, r.plural, r.category, r.colour_in_name, 0, {0, 0, 0}}); }
  return spread(all, limit);
}

std::vector<Concept> shape_concepts(int64_t limit) {
  std::vector<Concept> all;
  for (int s = 0; s < int(std::size(kShapes)); ++s) {
    for (const NamedColour& c : kColours) {
      std::string name = std::string(c.name) + " " + kShapes[s];
      all.push_back({0, name, name + (name.back() == 's' ? "es" : "s"), kShapes[s], true, s, {c.rgb[0], c.rgb[1], c.rgb[2]}});
    }
  }
  return spread(all, limit);
}

Catalogue::Catalogue(std::vector<Concept> concepts, const std::string& font) : concepts_(std::move(concepts)) {
#if PUMICE_FREETYPE
  std::unique_ptr<Font> face = font.empty() ? nullptr : std::make_unique<Font>(font);
#endif
  for (const Concept& c : concepts_) {
    std::vector<Sprite> sizes;
#if PUMICE_FREETYPE
    sizes.push_back(face ? face->draw(c) : draw_shape(c, 128));
#else
    sizes.push_back(draw_shape(c, 128));
#endif
    while (sizes.back().size >= 16) { sizes.push_back(half(sizes.back())); }
    sprites_.push_back(std::move(sizes));
  }
}

const Sprite& Catalogue::sprite(int64_t concept_index, double pixels) const {
  const std::vector<Sprite>& sizes = sprites_[size_t(concept_index)];
  size_t best = 0;
  while (best + 1 < sizes.size() && sizes[best + 1].size >= pixels) { ++best; }
  return sizes[best];
}

std::string find_emoji_font(const std::string& wanted) {
#if PUMICE_FREETYPE
  namespace fs = std::filesystem;
  if (!wanted.empty()) {
    REQUIRE(IoError, fs::exists(wanted), "[scenes] the font ", wanted, " does not exist. Try: apt-get install fonts-noto-color-emoji");
    return wanted;
  }
  std::vector<fs::path> places = {"/usr/share/fonts/truetype/noto", "/usr/share/fonts", "/usr/local/share/fonts"};
  if (const char* home = std::getenv("HOME")) { places.push_back(fs::path(home) / ".fonts"); }
  for (const fs::path& place : places) {
    std::error_code ignored;
    if (fs::exists(place / "NotoColorEmoji.ttf", ignored)) { return (place / "NotoColorEmoji.ttf").string(); }
    for (fs::recursive_directory_iterator it(place, ignored), end; !ignored && it != end; it.increment(ignored)) {
      if (it->path().filename() == "NotoColorEmoji.ttf") { return it->path().string(); }
    }
  }
#else
  REQUIRE(UsageError, wanted.empty(), "[scenes] --font needs a build with FreeType (libfreetype-dev)");
#endif
  return "";
}

}  // namespace pumice
