// For CUDA kernels of the router: a warp per token, its E numbers in registers as long as there are at most 128 of them. Router tensors are f32.
#pragma once
#include "pumice/tensor/simt/rows.h"

namespace pumice::simt {

inline void require_f32(DType dtype) {
  if (dtype != DType::f32) { dtype_has_no_kernel(dtype); }
}

// Calls f.template operator()<Team>() with the team for rows of E numbers.
template <class F> void with_expert_team(DType dtype, int64_t experts, const F& f) {
  require_f32(dtype);
  if (experts <= 32) { f.template operator()<RowTeam<1, 32, 1>>(); }
  else if (experts <= 128) { f.template operator()<RowTeam<1, 32, 4>>(); }
  else { f.template operator()<RowTeam<1, 32, 0>>(); }
}

}  // namespace pumice::simt
