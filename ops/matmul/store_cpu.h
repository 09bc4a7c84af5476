// Finished sums on their way into C: bias, beta, conversion and the epilogue (epilogue.h). Included by gemm_cpu.cpp only, once per instruction-set level.
#pragma once
#include "pumice/ops/elementwise/unary_math.h"
#include "pumice/ops/matmul/gemm_cpu.h"
#include "pumice/tensor/math.h"

namespace pumice::PUMICE_ISA {

// A row of a matrix that an epilogue reads or writes beside C.
template <class C> PUMICE_INLINE C* row_of(void* matrix, const Product& p, int64_t i, int64_t j0) {
  return matrix ? static_cast<C*>(matrix) + i * p.c_row + j0 : nullptr;
}

// What follows a product, on rows [i0, i0 + height) and columns [j0, j0 + width) of C that have just been stored.
template <class C> void finish(const Product& p, int64_t i0, int64_t height, int64_t j0, int64_t width) {
  using A = Acc<C>;
  for (int64_t i = i0; i < i0 + height; ++i) {
    C *c = row_of<C>(p.c, p, i, j0), *y = row_of<C>(p.y ? p.y : p.c, p, i, j0);
    const C* other = row_of<C>(p.other, p, i, j0);
    if (p.epilogue == Epilogue::add) {
      for (int64_t j = 0; j < width; ++j) { c[j] = C(A(c[j]) + A(other[j])); }
    } else if (p.epilogue == Epilogue::swiglu) {
#pragma GCC ivdep  // y may be c
      for (int64_t j = 0; j < width; ++j) { y[j] = C(swish(A(other[j]), A(1)) * A(c[j])); }
    } else {
      with_gelu(p.f, [&]<Unary F>() {
#pragma GCC ivdep
        for (int64_t j = 0; j < width; ++j) { y[j] = C(unary_value<F>(A(c[j]), A(1), A(0))); }
      });
    }
  }
}

// The finished sums of a block become the gradient that takes the place of what stands in C. y: what the forward pass had made of that, or null.
template <Unary F, class A, class C> PUMICE_INLINE void gelu_backward(C* __restrict c, C* __restrict y, const A* t, int64_t width) {
  for (int64_t j = 0; j < width; ++j) {
    const A x = A(c[j]);
    if (y) { y[j] = C(unary_value<F>(x, A(1), A(0))); }
    c[j] = C(A(C(t[j])) * unary_slope<F>(x));
  }
}
template <class A, class C> PUMICE_INLINE void swiglu_backward(C* __restrict c, C* __restrict y, C* __restrict gate, const A* t, int64_t width) {
  for (int64_t j = 0; j < width; ++j) {
    const A x = A(c[j]), g = A(gate[j]), dy = A(C(t[j]));
    if (y) { y[j] = C(swish(g, A(1)) * x); }
    gate[j] = C(dy * x * swish_slope(g, A(1)));
    c[j] = C(dy * swish(g, A(1)));
  }
}
template <class A, class C> void store_backward(const Product& p, int64_t i0, int64_t height, int64_t j0, int64_t width, const A* tile, int64_t ld) {
  for (int64_t i = 0; i < height; ++i) {
    C *c = row_of<C>(p.c, p, i0 + i, j0), *y = row_of<C>(p.y, p, i0 + i, j0), *other = row_of<C>(p.other, p, i0 + i, j0);
    const A* t = tile + i * ld;
    if (p.epilogue == Epilogue::swiglu_backward) { swiglu_backward<A, C>(c, y, other, t, width); }
    else { with_gelu(p.f, [&]<Unary F>() { gelu_backward<F, A, C>(c, y, t, width); }); }
  }
}

// The finished sums of a block, in `tile` (height, ld), into C with bias, beta and conversion.
template <class A, class C> void store(const Product& p, int64_t i0, int64_t height, int64_t j0, int64_t width, const A* tile, int64_t ld) {
  if (Epilogue::reads_c(p.epilogue)) { return store_backward<A, C>(p, i0, height, j0, width, tile, ld); }
  const A* bias = static_cast<const A*>(p.bias);
  C* block = static_cast<C*>(p.c) + i0 * p.c_row + j0 * p.c_col;
  if (p.c_col == 1) {
    for (int64_t i = 0; i < height; ++i) {
      C* c = block + i * p.c_row;
      const A* t = tile + i * ld;
      if (p.beta) { for (int64_t j = 0; j < width; ++j) { c[j] = C(A(c[j]) + (bias ? t[j] + bias[j0 + j] : t[j])); } }
      else if (bias) { for (int64_t j = 0; j < width; ++j) { c[j] = C(t[j] + bias[j0 + j]); } }
      else { for (int64_t j = 0; j < width; ++j) { c[j] = C(t[j]); } }
    }
  } else {
    for (int64_t j = 0; j < width; ++j) {
      C* c = block + j * p.c_col;
      const A b = bias ? bias[j0 + j] : A(0);
      for (int64_t i = 0; i < height; ++i) { c[i * p.c_row] = C((p.beta ? A(c[i * p.c_row]) : A(0)) + (tile[i * ld + j] + b)); }
    }
  }
  if (p.epilogue) { finish<C>(p, i0, height, j0, width); }
}

}  // namespace pumice::PUMICE_ISA
