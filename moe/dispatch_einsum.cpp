#include "pumice/moe/dispatch_einsum.h"

#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/matmul/matmul.h"

namespace pumice {
namespace {

// D_k (S, E * Q) of choice k in group g, one-hot in the row of each kept token.
Tensor mask_of(const Routing& r, int64_t g, int64_t k, DType dtype) {
  const int64_t begin = r.groups.offsets[size_t(g)], S = r.groups.offsets[size_t(g) + 1] - begin, K = r.experts_per_token();
  const int64_t E = r.experts(), Q = r.capacity[size_t(g)];
  const std::vector<int32_t> slots = r.slot.to_vector<int32_t>(), experts = r.expert.to_vector<int32_t>();
  std::vector<double> mask(size_t(S * E * Q), 0);
  for (int64_t s = 0; s < S; ++s) {
    int64_t at = (begin + s) * K + k, slot = slots[size_t(at)];
    if (slot >= 0) { mask[size_t((s * E + experts[size_t(at)]) * Q + slot)] = 1; }
  }
  return to_device(to_dtype(from_values<double>({S, E * Q}, mask), dtype), r.slot.device());
}

}  // namespace

Tensor einsum_dispatch(const Tensor& x, const Routing& r) {
  std::vector<Tensor> buffers;
  for (int64_t g = 0; g < r.groups.count(); ++g) {
    Tensor mask = mask_of(r, g, 0, x.dtype());
    for (int64_t k = 1; k < r.experts_per_token(); ++k) { mask = add(mask, mask_of(r, g, k, x.dtype())); }
    Tensor tokens = slice(x, 0, r.groups.offsets[size_t(g)], r.groups.offsets[size_t(g) + 1]);
    buffers.push_back(reshape(matmul(mask, tokens, true, false), {r.experts(), r.capacity[size_t(g)], x.dim(1)}));
  }
  return concat(buffers, 1);
}

Tensor einsum_combine(const Tensor& y, const Routing& r) {
  std::vector<Tensor> outputs;
  int64_t first_slot = 0;
  for (int64_t g = 0; g < r.groups.count(); ++g) {
    const int64_t Q = r.capacity[size_t(g)];
    Tensor gate = cast(slice(r.gate, 0, r.groups.offsets[size_t(g)], r.groups.offsets[size_t(g) + 1]), y.dtype()), weights;
    for (int64_t k = 0; k < r.experts_per_token(); ++k) {
      Tensor of_choice = mul(slice(gate, 1, k, k + 1), mask_of(r, g, k, y.dtype()));
      weights = weights.defined() ? add(weights, of_choice) : of_choice;
    }
    Tensor buffer = reshape(slice(y, 1, first_slot, first_slot + Q), {r.experts() * Q, y.dim(2)});
    outputs.push_back(matmul(weights, buffer));
    first_slot += Q;
  }
  return concat(outputs, 0);
}

}  // namespace pumice
