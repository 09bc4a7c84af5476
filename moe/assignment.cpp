#include "pumice/moe/assignment.h"

#include <algorithm>

#include "pumice/autograd/autograd.h"
#include "pumice/moe/assignment_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_CPU_KERNEL(assign_slots_kernel, AssignSlots);
PUMICE_DEFINE_CPU_KERNEL(assign_rows_kernel, AssignRows);

namespace {

// Lays out the kept claims by expert, then group: fills expert_offsets and returns the row of slot 0 of every (group, expert).
Tensor lay_out_rows(const Tensor& claims, const std::vector<int64_t>& capacity, const Tensor& expert_offsets) {
  const int64_t G = claims.dim(0), E = claims.dim(1);
  Tensor first_row = empty_like(claims);
  const int32_t* claimed = claims.data<int32_t>();
  int32_t *first = first_row.data<int32_t>(), *offsets = expert_offsets.data<int32_t>(), rows = 0;
  for (int64_t e = 0; e < E; ++e) {
    offsets[e] = rows;
    for (int64_t g = 0; g < G; ++g) {
      first[g * E + e] = rows;
      rows += int32_t(std::min<int64_t>(claimed[g * E + e], capacity[size_t(g)]));
    }
  }
  offsets[E] = rows;
  return first_row;
}

}  // namespace

Assignment assign_slots(const Tensor& chosen, const Tensor& gates, const TokenGroups& groups, int experts,
                        const std::vector<int64_t>& capacity, Order order, const RandomKey& key) {
  require_valid(groups);
  require_dtype("assign_slots", "expert", chosen, DType::i32);
  require_float("assign_slots", "gate", gates);
  REQUIRE(ShapeError, chosen.rank() == 2 && chosen.dim(0) == groups.tokens() && gates.shape() == chosen.shape(),
          "[assign_slots] expert and gate must be (T, K) with T = ", groups.tokens(), " tokens in the groups, got ", chosen.shape(), " and ",
          gates.shape());
  REQUIRE(ShapeError, int64_t(capacity.size()) == groups.count(), "[assign_slots] one capacity per group: ", groups.count(), " groups, got ",
          capacity.size());
  const int64_t T = chosen.dim(0), K = chosen.dim(1), G = groups.count(), E = experts;
  REQUIRE(ShapeError, T * K < int64_t(1) << 31, "[assign_slots] ", T, " tokens * ", K, " choices exceed 2^31 rows: route fewer tokens at once");
  Device device = chosen.device();
  Tensor expert = packed(chosen), gate = packed(gates.detach()), offsets = offsets_tensor(groups);
  RandomKey batch_key = key;
  batch_key.microbatch = 0;

  Assignment a;
  a.slot = empty({T, K}, DType::i32, device);
  a.row = empty({T, K}, DType::i32, device);
  a.expert_offsets = empty({E + 1}, DType::i32, device);
  Tensor claims = empty({G, E}, DType::i32, device), places = from_values<int64_t>({G}, capacity);
  assign_slots_kernel(device, {a.slot, claims, expert, gate, offsets, places, G, E, K, groups.first_group, order, batch_key});
  Tensor first_row = lay_out_rows(claims, capacity, a.expert_offsets);
  a.token_of_row = empty({a.expert_offsets.data<int32_t>()[E]}, DType::i32, device);
  assign_rows_kernel(device, {a.row, a.token_of_row, a.slot, expert, first_row, offsets, G, E, K});
  return a;
}

}  // namespace pumice
