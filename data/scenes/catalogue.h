// What can be drawn: concepts with their names, and a picture of each.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pumice {

struct Concept {
  uint32_t code_point = 0;       // 0 for a shape
  std::string name, plural, category;
  bool colour_in_name = false;   // its hue may move by 10 degrees instead of 30
  int shape = 0;                 // of a procedural shape
  uint8_t rgb[3] = {0, 0, 0};
};

// Straight-alpha RGBA in floats from 0 to 1, square.
struct Sprite {
  int size = 0;
  std::vector<float> rgba;
};

// `limit` concepts spread evenly over the categories, in a fixed order.
std::vector<Concept> emoji_concepts(int64_t limit);
std::vector<Concept> shape_concepts(int64_t limit);

// Pictures of concepts, drawn once.
class Catalogue {
 public:
  // An empty font draws shapes. Throws FormatError when the font has no picture of a concept.
  Catalogue(std::vector<Concept> concepts, const std::string& font);
  const std::vector<Concept>& concepts() const { return concepts_; }
  // The smallest prepared size that is at least `pixels`.
  const Sprite& sprite(int64_t concept_index, double pixels) const;

 private:
  std::vector<Concept> concepts_;
  std::vector<std::vector<Sprite>> sprites_;  // per concept, halving in size
};

}  // namespace pumice
