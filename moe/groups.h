// Token groups: the tokens that compete for the same places in the experts' buffers. A group is whole examples with both their
// modalities. Groups do not change under gradient accumulation. T may end with padding, as one more group: no expert takes it, and no loss or statistic
// counts it.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

enum class Modality : uint8_t { image = 0, text = 1, none = 2 };  // none: padding

struct TokenGroups {
  std::vector<int64_t> offsets = {0};  // (G + 1): group g holds tokens offsets[g] .. offsets[g + 1] - 1
  Tensor modality;                     // u8 (T): Modality
  int64_t padding = 0;                 // tokens of the last group, if that is padding
  int64_t first_group = 0;             // index of group 0 in the whole batch: random numbers do not depend on how it is split

  // What tensor_of() has made, where it is kept: all layers that route these groups read the same tensors then.
  std::shared_ptr<std::map<std::string, Tensor>> tensors;

  int64_t count() const { return int64_t(offsets.size()) - 1; }
  int64_t tokens() const { return offsets.back(); }
};

// Offsets of groups of `examples_per_group` whole examples, given the tokens of each; the last group may hold fewer examples.
std::vector<int64_t> group_offsets(const std::vector<int64_t>& tokens_of_example, int64_t examples_per_group);
// Sets the modality of the tokens of all groups, and adds `padding` tokens behind them.
void set_modality(TokenGroups& groups, std::vector<uint8_t> modality, int64_t padding = 0);
// Throws ShapeError or DTypeError unless the offsets rise from 0 without empty groups and modality is u8 (T).
void require_valid(const TokenGroups& groups);
// make(), on the CPU, or what it returned for this name before where tensors are kept. A function of the groups and of what the name says.
Tensor tensor_of(const TokenGroups& groups, const std::string& name, const std::function<Tensor()>& make);
// offsets as an i64 tensor (G + 1) on `device`, for kernels.
Tensor offsets_tensor(const TokenGroups& groups, Device device);

}  // namespace pumice
