// The gemm seam of the CPU: packed, blocked products that other kernels call. Declared once per instruction-set level.
#pragma once
#include "pumice/ops/matmul/epilogue.h"
#include "pumice/tensor/dtype.h"

namespace pumice::PUMICE_ISA {

// One product C (M, N) = beta C + A (M, K) B (K, N) + bias (N). Transposes are strides. Element types: A and B one of f32, bf16,
// f64; C any of them; sums in f32 (f64 when A is f64). bias is in the accumulator type, or null. beta is 0 or 1.
struct Product {
  int64_t M, N, K;
  const void *a, *b;
  int64_t a_row, a_col, b_row, b_col;  // strides in elements
  void* c;
  int64_t c_row, c_col;
  const void* bias;
  int beta;
  Epilogue::Kind epilogue = Epilogue::none;  // with one: rows of C are packed, and of the type of A
  Unary f = Unary::gelu_tanh;
  void *y = nullptr, *other = nullptr;  // as C, row by row
};

// All products share their element types; they run side by side in one parallel region. Work is cut by shape alone, so the bits
// do not depend on the number of threads.
void gemm(const Product* products, int64_t count, DType ab, DType c);

}  // namespace pumice::PUMICE_ISA
