// Small routings for tests: the numbers of facts that other implementations state, and tokens drawn from a fixed seed.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "pumice/moe/routing.h"
#include "pumice/tensor/rng.h"

namespace pumice::testing {

// modality[t] = text for the last `text_per_group` tokens of every group.
inline TokenGroups groups_of(const std::vector<int64_t>& offsets, int64_t text_per_group = 0, int64_t first_group = 0) {
  std::vector<uint8_t> modality(size_t(offsets.back()), 0);
  for (size_t g = 0; g + 1 < offsets.size(); ++g) {
    for (int64_t t = std::max(offsets[g], offsets[g + 1] - text_per_group); t < offsets[g + 1]; ++t) { modality[size_t(t)] = 1; }
  }
  return {.offsets = offsets, .modality = from_values<uint8_t>({offsets.back()}, modality), .first_group = first_group};
}

inline Tensor f64_of(const Shape& shape, const std::vector<double>& values) { return from_values<double>(shape, values); }

// Logits whose softmax is the given rows of probabilities; a probability of 0 becomes e^-700.
inline Tensor logits_of(const Shape& shape, std::vector<double> probabilities) {
  for (double& p : probabilities) { p = p > 0 ? std::log(p) : -700; }
  return from_values<double>(shape, probabilities);
}

inline Tensor random_logits(int64_t T, int64_t E, uint32_t site = 1) {
  return random_normal_tensor({T, E}, 0, 1.5, {.seed = 7, .site = site});
}

inline std::vector<int> ints(const Tensor& t) {
  std::vector<int32_t> v = t.to_vector<int32_t>();
  return {v.begin(), v.end()};
}

}  // namespace pumice::testing
