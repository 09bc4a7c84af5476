// log(sum(exp(x))) of numbers that are read once, for CUDA kernels: the twin of ops/log_sum_exp.h.
#pragma once
#include "pumice/tensor/simt/rows.h"

namespace pumice::simt {

// Milakov and Gimelshein 2018, arXiv:1805.02867: a running maximum, and the sum of exp(x - maximum), rescaled when it moves.
struct RunningLogSumExp {
  // The lowest finite number rather than -inf, so that numbers that are all -inf (masked logits) give exp(-inf), not a NaN.
  float top = -__FLT_MAX__, sum = 0;

  // One exponential for each of the V numbers and one to rescale.
  template <class T, int V> __device__ __forceinline__ void add(const Vector<T, V>& x) {
    float next = top;
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { next = Max()(next, float(x.v[j])); }
    sum *= expf(top - next);
    SIMT_UNROLL
    for (int j = 0; j < V; ++j) { sum += expf(float(x.v[j]) - next); }
    top = next;
  }
  // Of all that the threads of a Team (rows.h) have added: every thread gets it.
  template <class Team> __device__ __forceinline__ float value_of_team() const {
    const float all_top = Team::reduce(top, Max(), -__FLT_MAX__);
    return all_top + logf(Team::reduce(sum * expf(top - all_top), Sum(), 0.0f));
  }
};

}  // namespace pumice::simt
