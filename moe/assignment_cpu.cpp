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

// Stable, a byte of the keys after the other; a byte that all keys share is left out. `other` is as long as `claims`. Returns whichever of the two holds
// the result.
PUMICE_INLINE Claim* radix_sort(Claim* claims, Claim* other, int64_t n) {
  int32_t begin[8][256] = {};
  for (int64_t i = 0; i < n; ++i) {
    for (int b = 0; b < 8; ++b) { ++begin[b][uint8_t(claims[i].key >> 8 * b)]; }
  }
  for (int b = 0; b < 8; ++b) {
    if (begin[b][uint8_t(claims[0].key >> 8 * b)] == n) { continue; }
    int32_t sum = 0;
    for (int32_t& count : begin[b]) {
      const int32_t here = count;
      count = sum;
      sum += here;
    }
    for (int64_t i = 0; i < n; ++i) { other[begin[b][uint8_t(claims[i].key >> 8 * b)]++] = claims[i]; }
    Claim* sorted = other;
    other = claims;
    claims = sorted;
  }
  return claims;
}

// Larger gates get smaller keys. Gates are probabilities, and the bits of floats >= 0 are ordered as the numbers are.
template <class Bits, class T> PUMICE_INLINE uint64_t descending_key(T gate) {
  Bits bits;
  std::memcpy(&bits, &gate, sizeof(bits));
  return ~uint64_t(bits);
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
      claims[s].key = a.gate.dtype == DType::f64 ? descending_key<uint64_t>(a.gate.as<double>()[at]) : descending_key<uint32_t>(a.gate.as<float>()[at]);
    }
  }
  return n ? radix_sort(claims, other, n) : claims;
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
