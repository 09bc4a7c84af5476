// Sums down the columns of a (O, R, I) array of any strides, in a fixed order: what sum_axis, bias gradients and norm parameters need.
#pragma once
#include "pumice/tensor/simt/device_scratch.h"
#include "pumice/tensor/simt/simt.h"

namespace pumice::simt {

inline constexpr int kColumnsOfBlock = 32, kRowGroups = 8;
inline constexpr int64_t kRowsOfPiece = 512;

template <class X> struct Columns {
  const X* x;
  int64_t O, R, I, stride_o, stride_r, stride_i;
};

// A block sums one piece of R for 32 neighbouring columns: eight groups take every eighth row, and their sums are added in order.
// y[o * y_o + piece * y_piece + i * y_i] = scale * sum (+ what was there, with beta 1). Reads each x once.
template <class Y, class X> __global__ void __launch_bounds__(kColumnsOfBlock * kRowGroups)
sum_columns_piece(Y* y, int64_t y_o, int64_t y_piece, int64_t y_i, Columns<X> a, const X* x, int64_t pieces, int64_t rows_of_piece, float scale,
                  int beta) {
  SIMT_SHARED(float, sums, [kRowGroups][kColumnsOfBlock]);
  const int64_t stripes = (a.I + kColumnsOfBlock - 1) / kColumnsOfBlock;
  const int64_t stripe = blockIdx.x % stripes, piece = blockIdx.x / stripes % pieces, o = blockIdx.x / stripes / pieces;
  const int column = threadIdx.x % kColumnsOfBlock, group = threadIdx.x / kColumnsOfBlock;
  const int64_t i = stripe * kColumnsOfBlock + column, end = min((piece + 1) * rows_of_piece, a.R);
  float sum = 0;
  if (i < a.I) {
    const X* p = x + o * a.stride_o + i * a.stride_i;
    for (int64_t r = piece * rows_of_piece + group; r < end; r += kRowGroups) { sum += float(p[r * a.stride_r]); }
  }
  sums[group][column] = sum;
  __syncthreads();
  if (group == 0 && i < a.I) {
    for (int g = 1; g < kRowGroups; ++g) { sum += sums[g][column]; }
    Y* to = y + o * y_o + piece * y_piece + i * y_i;
    *to = Y((beta ? float(*to) : 0.0f) + sum * scale);
  }
}

// y (O, I) with strides y_o, y_i:   y = scale * sum over R of x, added to y with beta 1.
template <class Y, class X> void sum_columns(Y* y, int64_t y_o, int64_t y_i, const Columns<X>& a, float scale = 1, int beta = 0) {
  if (!a.O || !a.I) { return; }
  const int64_t stripes = (a.I + kColumnsOfBlock - 1) / kColumnsOfBlock, pieces = a.R < 2 * kRowsOfPiece ? 1 : (a.R + kRowsOfPiece - 1) / kRowsOfPiece;
  const unsigned block = kColumnsOfBlock * kRowGroups;
  if (pieces == 1) {
    launch<sum_columns_piece<Y, X>>({.grid = unsigned(a.O * stripes), .block = block}, y, y_o, int64_t(0), y_i, a, a.x, int64_t(1), a.R, scale, beta);
    return;
  }
  DeviceScratch<float> partial(a.O * pieces * a.I);
  launch<sum_columns_piece<float, X>>({.grid = unsigned(a.O * stripes * pieces), .block = block}, partial.get(), pieces * a.I, a.I, int64_t(1), a, a.x,
                                      pieces, kRowsOfPiece, 1.0f, 0);
  sum_columns(y, y_o, y_i, Columns<float>{partial.get(), a.O, pieces, a.I, pieces * a.I, a.I, 1}, scale, beta);
}

}  // namespace pumice::simt
