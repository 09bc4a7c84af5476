// One scene: what is in it, how it looks and what is said about it.
#pragma once
#include <string>
#include <vector>

#include "pumice/data/image.h"
#include "pumice/data/scenes/catalogue.h"

namespace pumice {

// Random numbers of one scene: splitmix64 (Steele, Lea, Flood 2014) from a key, so that scenes do not depend on each other.
class SceneRandom {
 public:
  SceneRandom(uint64_t seed, uint64_t split, uint64_t index);
  uint64_t bits();
  double unit();                          // [0, 1)
  double range(double low, double high);
  int64_t below(int64_t n);

 private:
  uint64_t state_;
};

struct Placed {
  int64_t concept_index = 0;
  double x = 0, y = 0, diameter = 0;      // centre and size in pixels
  double turn = 0;                        // degrees
  double hue = 0, saturation = 1, brightness = 1;
};

struct Scene {
  enum Kind { kSingle, kCount, kPair } kind = kSingle;
  std::vector<Placed> objects;
  int64_t first = 0, second = -1;         // concepts; second only in a pair
  bool above = false;                     // pair: first is above second, else left of it
  std::string background;                 // its named colour
  uint8_t background_rgb[3] = {0, 0, 0};
  int texture = 0;                        // 0 gradient, 1 noise, 2 stripes
  uint64_t texture_key = 0;
};

enum class SceneSplit : uint64_t { train, val, compositional, templates, eval_test, eval_train };

// Which scenes a split holds: pairs and counts that train never shows belong to `compositional` alone.
Scene sample_scene(SceneSplit split, int64_t concepts, const Catalogue& catalogue, int64_t size, SceneRandom& random);
// A single object of a given concept, as the evaluation set has them.
Scene sample_object(int64_t concept_index, const Catalogue& catalogue, int64_t size, SceneRandom& random);

Image draw_scene(const Scene& scene, const Catalogue& catalogue, int64_t size);

// A caption in one of the wordings of the split: `templates` uses those that no other split does.
std::string caption_of(const Scene& scene, const Catalogue& catalogue, SceneSplit split, SceneRandom& random);
std::string truth_json(const Scene& scene, const Catalogue& catalogue, const std::vector<std::string>& captions);

}  // namespace pumice
