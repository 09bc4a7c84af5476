// How rotary embeddings (ops/embedding/rotary.h) reach beyond the length that a model was trained for: what Transformers calls rope_scaling.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace pumice {

struct RotaryScaling {
  // linear: positions are divided by `factor` (Chen et al. 2023, arXiv:2306.15595). dynamic: theta grows with the text once it is longer than `trained`
  // (NTK-aware). llama3: slow turns are divided by `factor`, fast ones are not. yarn: the same by a ramp, and attention is sharpened (Peng et al. 2023,
  // arXiv:2309.00071).
  enum class Kind { none, linear, dynamic, llama3, yarn } kind = Kind::none;
  double factor = 1;
  int64_t trained = 0;                // positions that the model was trained for, before it was stretched
  double low_factor = 1, high_factor = 4;  // llama3: wavelengths above trained / low_factor are stretched, those below trained / high_factor are not
  double beta_fast = 32, beta_slow = 1;    // yarn: turns within `trained` positions from which none and up to which all of `factor` applies
  bool truncate = true;               // yarn: the ramp begins and ends at whole elements
  double attention = 0;               // yarn: scale of cosines and sines; 0: 0.1 ln(factor) + 1

  // Throws UsageError naming the field and what it must be.
  void validate() const;
  double scale() const;  // of cosines and sines: the last argument of rotary()
  // Whether the frequencies of a text of this length are other than those of a shorter one.
  bool depends_on(int64_t length) const { return kind == Kind::dynamic && length > trained; }
};

// f32 (R / 2): radians per position of each pair, for a text of `length` tokens.
std::vector<float> scaled_frequencies(int64_t R, double theta, const RotaryScaling& scaling, int64_t length);

}  // namespace pumice
