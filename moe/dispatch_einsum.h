// Dispatch and combine as one-hot matrices, as V-MoE and GShard state them: the specification of dispatch.h, written with plain ops
// and O(S^2) memory. Tests hold the index lists against it; models do not use it.
#pragma once
#include "pumice/moe/routing.h"

namespace pumice {

// einsum 'SEQ,SC->EQC' per group, with the mask D[s, e, q] = 1 where a choice of token s stands in slot q of expert e; the groups'
// buffers one after the other. Empty slots are zero rows.     x (T, C)   ->   (E, sum of the groups' capacities, C)
Tensor einsum_dispatch(const Tensor& x, const Routing& routing);
// einsum 'SEQ,EQC->SC' per group with the weights gate * D.     y (E, sum of the groups' capacities, C)   ->   (T, C)
Tensor einsum_combine(const Tensor& y, const Routing& routing);

}  // namespace pumice
