#include "pumice/moe/assignment.h"

#include <algorithm>

#include "pumice/autograd/autograd.h"
#include "pumice/moe/assignment_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(assign_slots_kernel, AssignSlots);
PUMICE_DEFINE_KERNEL(assign_rows_kernel, AssignRows);

namespace {

struct RowLayout {
  Tensor first_row, expert_offsets;  // i32 (G, E): the row of slot 0; i32 (E + 1)
  int64_t rows = 0;
};

// Lays out the kept claims (G, E) by expert, then group. They are read on the host, because the number of rows is a shape.
RowLayout lay_out_rows(const Tensor& claims, const std::vector<int64_t>& capacity) {
  const size_t G = size_t(claims.dim(0)), E = size_t(claims.dim(1));
  const std::vector<int32_t> claimed = claims.to_vector<int32_t>();
  std::vector<int32_t> first(G * E), offsets(E + 1);
  int32_t rows = 0;
  for (size_t e = 0; e < E; ++e) {
    offsets[e] = rows;
    for (size_t g = 0; g < G; ++g) {
      first[g * E + e] = rows;
      rows += int32_t(std::min<int64_t>(claimed[g * E + e], capacity[g]));
    }
  }
  offsets[E] = rows;
  return {.first_row = to_device(from_values<int32_t>(claims.shape(), first), claims.device()),
          .expert_offsets = to_device(from_values<int32_t>({int64_t(E) + 1}, offsets), claims.device()), .rows = rows};
}

}  // namespace

Assignment assign_slots(const Tensor& chosen, const Tensor& gates, const TokenGroups& groups, int experts,
                        const std::vector<int64_t>& capacity, Order order, const RandomKey& key) {
  require_valid(groups);
  require_dtype("assign_slots", "expert", chosen, DType::i32);
  REQUIRE(DTypeError, gates.dtype() == DType::f32 || gates.dtype() == DType::f64, "[assign_slots] gate must be f32 or f64, got ",
          name(gates.dtype()), " ", gates.shape());
  require_same_device("assign_slots", chosen, gates);
  REQUIRE(ShapeError, chosen.rank() == 2 && chosen.dim(0) == groups.tokens() && gates.shape() == chosen.shape(),
          "[assign_slots] expert and gate must be (T, K) with T = ", groups.tokens(), " tokens in the groups, got ", chosen.shape(), " and ",
          gates.shape());
  REQUIRE(ShapeError, int64_t(capacity.size()) == groups.count(), "[assign_slots] one capacity per group: ", groups.count(), " groups, got ",
          capacity.size());
  const int64_t T = chosen.dim(0), K = chosen.dim(1), G = groups.count(), E = experts;
  REQUIRE(ShapeError, T * K < int64_t(1) << 31, "[assign_slots] ", T, " tokens * ", K, " choices exceed 2^31 rows: route fewer tokens at once");
  Device device = chosen.device();
  REQUIRE(UsageError, device == Device::cpu() || E <= kMaxExpertsOnCuda, "[assign_slots] at most ", kMaxExpertsOnCuda, " experts on ", device,
          ", got ", E, ": their counters must fit a block's shared memory");
  Tensor expert = packed(chosen), gate = packed(gates.detach()), offsets = offsets_tensor(groups, device);
  RandomKey batch_key = key;
  batch_key.microbatch = 0;

  Assignment a;
  a.slot = empty({T, K}, DType::i32, device);
  a.row = empty({T, K}, DType::i32, device);
  Tensor claims = empty({G, E}, DType::i32, device), places = to_device(from_values<int64_t>({G}, capacity), device);
  assign_slots_kernel(device, {a.slot, claims, expert, gate, offsets, places, G, E, K, groups.first_group, order, batch_key});
  const RowLayout layout = lay_out_rows(claims, capacity);
  a.expert_offsets = layout.expert_offsets;
  a.token_of_row = empty({layout.rows}, DType::i32, device);
  assign_rows_kernel(device, {a.row, a.token_of_row, a.slot, expert, layout.first_row, offsets, G, E, K});
  return a;
}

}  // namespace pumice
