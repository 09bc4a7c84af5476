// Orders of samples that depend on a seed alone.
#pragma once
#include <cstdint>
#include <vector>

namespace pumice {

// A permutation of 0 ... n - 1 for an epoch: Fisher-Yates with 64-bit draws from the epoch's own stream.
std::vector<int64_t> permutation(int64_t n, uint64_t seed, int64_t epoch);
// A number in [0, n) for an epoch, from another stream.
int64_t draw_below(int64_t n, uint64_t seed, int64_t epoch);

}  // namespace pumice
