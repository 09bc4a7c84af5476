#include "pumice/moe/assignment.h"

#include <algorithm>

#include "pumice/autograd/autograd.h"
#include "pumice/moe/assignment_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(assign_slots_kernel, AssignSlots);
PUMICE_DEFINE_KERNEL(lay_out_rows_kernel, LayOutRows);
PUMICE_DEFINE_KERNEL(assign_rows_kernel, AssignRows);

Tensor capacity_tensor(const TokenGroups& groups, const std::vector<int64_t>& capacity, Device device) {
  const auto make = [&] { return from_values<int64_t>({int64_t(capacity.size())}, capacity); };
  Tensor kept = tensor_of(groups, "capacity", make);
  // routers of one model mostly have one capacity
  return to_device(std::equal(capacity.begin(), capacity.end(), kept.data<int64_t>(), kept.data<int64_t>() + kept.size()) ? kept : make(), device);
}

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
  Tensor claims = empty({G, E}, DType::i32, device), places = capacity_tensor(groups, capacity, device);
  assign_slots_kernel(device, {a.slot, claims, expert, gate, offsets, places, G, E, K, groups.first_group, order, batch_key});
  Tensor first_row = empty({G, E}, DType::i32, device);
  a.expert_offsets = empty({E + 1}, DType::i32, device);
  lay_out_rows_kernel(device, {first_row, a.expert_offsets, claims, places, G, E});
  // On CUDA the host would have to wait to learn how many rows there are: as many as choices, at most.
  const bool here = device == Device::cpu();
  a.token_of_row = empty({here ? a.expert_offsets.data<int32_t>()[E] : T * K}, DType::i32, device);
  if (!here) { fill(a.token_of_row, -1); }
  assign_rows_kernel(device, {a.row, a.token_of_row, a.slot, expert, first_row, offsets, G, E, K});
  return a;
}

}  // namespace pumice
