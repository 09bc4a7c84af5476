// CPU kernels of the slot assignment: groups are independent and run in parallel, a group's claims are counted in order.
#include "pumice/moe/assignment_kernels.h"
#include "pumice/tensor/parallel.h"
#include "pumice/tensor/scratch.h"

namespace pumice::PUMICE_ISA {
namespace {

struct Claim {
  uint64_t key;  // smaller claims first
  int32_t token;
};

// Stable, from runs of one upwards; `other` is as long as `claims`. Returns whichever of the two holds the result.
PUMICE_INLINE Claim* merge_sort(Claim* claims, Claim* other, int64_t n) {
  for (int64_t width = 1; width < n; width *= 2) {
    for (int64_t begin = 0; begin < n; begin += 2 * width) {
      int64_t middle = begin + width < n ? begin + width : n, end = begin + 2 * width < n ? begin + 2 * width : n;
      int64_t left = begin, right = middle;
      for (int64_t i = begin; i < end; ++i) {
        bool from_left = left < middle && (right == end || claims[left].key <= claims[right].key);
        other[i] = from_left ? claims[left++] : claims[right++];
      }
    }
    Claim* sorted = other;
    other = claims;
    claims = sorted;
  }
  return claims;
}

// Larger gates get smaller keys. Gates are probabilities, and the bits of floats >= 0 are ordered as the numbers are.
PUMICE_INLINE uint64_t descending_key(double gate) {
  uint64_t bits;
  std::memcpy(&bits, &gate, 8);
  return ~bits;
}

// The order in which the n tokens of group g claim: out[i].token.
PUMICE_INLINE const Claim* claim_order(const AssignSlots& a, int64_t g, int64_t first_token, int64_t n) {
  Claim *claims = scratch<Claim>(0, n), *other = scratch<Claim>(1, n);
  for (int64_t s = 0; s < n; ++s) { claims[s] = {0, int32_t(s)}; }
  if (a.order == Order::position) { return claims; }
  if (a.order == Order::random) {
    const uint64_t stream = uint64_t(a.first_group + g) << 32;
    for (int64_t s = 0; s < n; ++s) { claims[s].key = random_bits(a.key, stream + uint64_t(s)); }
  } else {
    const int64_t K = a.per_token;
    for (int64_t s = 0; s < n; ++s) {
      int64_t at = (first_token + s) * K;
      claims[s].key = descending_key(a.gate.dtype == DType::f64 ? a.gate.as<double>()[at] : double(a.gate.as<float>()[at]));
    }
  }
  return merge_sort(claims, other, n);
}

}  // namespace

void assign_slots_kernel(const AssignSlots& a) {
  const int64_t E = a.experts, K = a.per_token;
  parallel_blocks(a.groups, [&](int64_t g) {
    const int64_t first = a.offsets.as<int64_t>()[g], n = a.offsets.as<int64_t>()[g + 1] - first, Q = a.capacity.as<int64_t>()[g];
    int32_t* claims = a.claims.as<int32_t>() + g * E;
    for (int64_t e = 0; e < E; ++e) { claims[e] = 0; }
    const Claim* order = claim_order(a, g, first, n);
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t i = 0; i < n; ++i) {
        int64_t at = (first + order[i].token) * K + k;
        int32_t place = claims[a.expert.as<int32_t>()[at]]++;
        a.slot.as<int32_t>()[at] = place < Q ? place : -1;
      }
    }
  });
}

void lay_out_rows_kernel(const LayOutRows& a) {
  const int64_t G = a.groups, E = a.experts, *capacity = a.capacity.as<int64_t>();
  const int32_t* claims = a.claims.as<int32_t>();
  int32_t *first = a.first_row.as<int32_t>(), *offsets = a.expert_offsets.as<int32_t>(), rows = 0;
  for (int64_t e = 0; e < E; ++e) {
    offsets[e] = rows;
    for (int64_t g = 0; g < G; ++g) {
      first[g * E + e] = rows;
      rows += claims[g * E + e] < capacity[g] ? claims[g * E + e] : int32_t(capacity[g]);
    }
  }
  offsets[E] = rows;
}

void assign_rows_kernel(const AssignRows& a) {
  const int64_t K = a.per_token;
  parallel_blocks(a.groups, [&](int64_t g) {
    const int32_t* first_row = a.first_row.as<int32_t>() + g * a.experts;
    for (int64_t at = a.offsets.as<int64_t>()[g] * K; at < a.offsets.as<int64_t>()[g + 1] * K; ++at) {
      int32_t slot = a.slot.as<int32_t>()[at], row = slot < 0 ? -1 : first_row[a.expert.as<int32_t>()[at]] + slot;
      a.row.as<int32_t>()[at] = row;
      if (row >= 0) { a.token_of_row.as<int32_t>()[row] = int32_t(at / K); }
    }
  });
}

}  // namespace pumice::PUMICE_ISA
