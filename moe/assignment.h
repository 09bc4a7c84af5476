#pragma once
#include <vector>

#include "pumice/moe/groups.h"
#include "pumice/moe/policy.h"
#include "pumice/tensor/philox.h"

namespace pumice {

// Which choices get a place in their expert's buffer, and where the kept ones stand in the dispatched matrix. All i32.
struct Assignment {
  Tensor slot;            // (T, K)   place in the buffer that the expert has for this group, -1: dropped
  Tensor row;             // (T, K)   row in the dispatched matrix, -1: dropped
  Tensor token_of_row;    // (R)      rows are sorted by expert, then group, then slot. On CUDA R is T K, whatever was dropped: rows from
                          //          expert_offsets[E] on are of no token, -1, and hold zeros
  Tensor expert_offsets;  // (E + 1)  rows of expert e: expert_offsets[e] .. expert_offsets[e + 1] - 1
};

// capacity as an i64 tensor (G), for kernels.
Tensor capacity_tensor(const TokenGroups& groups, const std::vector<int64_t>& capacity, Device device);

// V-MoE's assignment (vmoe/moe.py, _get_top_experts_per_item_common), per group: all first choices claim before all second
// choices, tokens within a round in `order`; a claim's place is the number of earlier claims on that expert, dropped ones
// included; it is kept if that is below the capacity.
//   expert i32 (T, K) < E    gate f32 or f64 (T, K), the first column is the priority    capacity (G)    key: for Order::random
// Throws ShapeError, DTypeError.
Assignment assign_slots(const Tensor& expert, const Tensor& gate, const TokenGroups& groups, int experts,
                        const std::vector<int64_t>& capacity, Order order, const RandomKey& key);

}  // namespace pumice
