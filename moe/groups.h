// Token groups: the tokens that compete for the same places in the experts' buffers. A group is whole examples with both their
// modalities; padding is not part of T. Groups do not change under gradient accumulation.
#pragma once
#include <cstdint>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

enum class Modality : uint8_t { image = 0, text = 1 };

struct TokenGroups {
  std::vector<int64_t> offsets = {0};  // (G + 1): group g holds tokens offsets[g] .. offsets[g + 1] - 1
  Tensor modality;                     // u8 (T): 0 image, 1 text
  int64_t first_group = 0;             // index of group 0 in the whole batch: random numbers do not depend on how it is split

  int64_t count() const { return int64_t(offsets.size()) - 1; }
  int64_t tokens() const { return offsets.back(); }
};

// Offsets of groups of `examples_per_group` whole examples, given the tokens of each; the last group may hold fewer examples.
std::vector<int64_t> group_offsets(const std::vector<int64_t>& tokens_of_example, int64_t examples_per_group);
// Throws ShapeError or DTypeError unless the offsets rise from 0 without empty groups and modality is u8 (T).
void require_valid(const TokenGroups& groups);
// offsets as an i64 tensor (G + 1) on `device`, for kernels.
Tensor offsets_tensor(const TokenGroups& groups, Device device);

}  // namespace pumice
