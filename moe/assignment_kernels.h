#pragma once
#include "pumice/moe/policy.h"
#include "pumice/tensor/kernel.h"
#include "pumice/tensor/philox.h"

namespace pumice {

struct AssignSlots {
  View slot, claims;                     // i32 (T, K); i32 (G, E): claims on each expert, kept or dropped
  View expert, gate, offsets, capacity;  // i32 (T, K); f32 or f64 (T, K); i64 (G + 1); i64 (G)
  int64_t groups, experts, per_token, first_group;
  Order order;
  RandomKey key;                         // microbatch 0
};
// Where kept choices stand: by expert, then group, then slot.
struct LayOutRows {
  View first_row, expert_offsets;        // i32 (G, E): the row of slot 0; i32 (E + 1)
  View claims, capacity;                 // as above
  int64_t groups, experts;
};
struct AssignRows {
  View row, token_of_row;                // i32 (T, K), i32 (R)
  View slot, expert, first_row, offsets;
  int64_t groups, experts, per_token;
};

inline constexpr int64_t kMaxExpertsOnCuda = 1408;  // 94 KiB of counters: every card of compute capability 8.0 or newer has 99

PUMICE_DECLARE_KERNEL(assign_slots_kernel, AssignSlots);
PUMICE_DECLARE_KERNEL(lay_out_rows_kernel, LayOutRows);
PUMICE_DECLARE_KERNEL(assign_rows_kernel, AssignRows);

}  // namespace pumice
