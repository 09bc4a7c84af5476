// Sample scenes: small pictures of emoji (or of procedural shapes, where the font is missing) with captions that describe them, and
// the truth about every scene. Made for a first training run that is fast and still honest: colours are jittered and backgrounds
// textured, so that a colour histogram does not give the answer away.
//
// Everything is a function of (seed, split, index): the same options give the same bytes on every machine.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "pumice/data/image.h"

namespace pumice {

struct SceneOptions {
  std::string out;              // directory to fill
  int64_t train = 20000, val = 1000;
  int64_t eval_per_class = 10;  // test pictures of each class in eval-objects/; twice as many on its training side
  int64_t size = 64;            // pixels per side
  int64_t concepts = 120;       // objects to draw from, at most; spread over the categories
  uint64_t seed = 1;
  std::string font;             // NotoColorEmoji.ttf; empty: searched for, then shapes
  bool shapes = false;          // use shapes even if a font is there
  bool overwrite = false;
};

struct SceneReport {
  std::string version;          // "emoji-v1" or "shapes-v1"
  std::string font;             // empty for shapes
  int64_t concepts = 0, train = 0, val = 0, eval = 0;
  uint64_t hash = 0;            // of every picture and caption
};

// Writes train/train-NNNNNN.tar (1000 samples each: .png .txt .json), val/val-000000.tar with val.csv and val_images/ (three
// captions per picture), compositional/ and templates/ (pairs, counts and wordings that train never holds), eval-objects/ (a
// CLIP_benchmark directory with a training side for baselines) and dataset.json. `progress` is called with the share done.
// Throws UsageError if `out` is not empty, IoError when it cannot be written.
SceneReport write_scenes(const SceneOptions& options, const std::function<void(double)>& progress);

// The font at `wanted`, or the first NotoColorEmoji.ttf of the usual places; "" when there is none or FreeType was not built in.
std::string find_emoji_font(const std::string& wanted);

}  // namespace pumice
