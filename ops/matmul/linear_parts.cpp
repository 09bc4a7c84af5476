#include "pumice/ops/matmul/linear_parts.h"

#include "pumice/ops/matmul/gemm.h"
#include "pumice/ops/require.h"

namespace pumice {

Tensor packed_residual(const char* op, const Tensor& residual, const Tensor& y) {
  if (!residual.defined()) { return {}; }
  REQUIRE(ShapeError, residual.shape() == y.shape(), "[", op, "] the residual must have the shape of y, ", y.shape(), ", got ", residual.shape());
  require_dtype(op, "residual", residual, y.dtype());
  require_same_device(op, y, residual);
  return packed(residual.detach()).reshape({y.dim(-1) ? y.size() / y.dim(-1) : 0, y.dim(-1)});
}

void put_weight_gradient(GradSink& sink, const Tensor& w, const Tensor& dy, const Tensor& x) {
  const bool leaf = sink.is_leaf();
  Tensor dw = leaf ? sink.accumulator() : empty(w.shape(), w.dtype(), w.device());
  gemm_batch(w.device(), {dw, dy.transpose(0, 1), x, {}, leaf ? 1 : 0});
  if (!leaf) { sink.put(dw); }
}

void put_bias_gradient(GradSink& sink, const Tensor& dy) {
  const bool leaf = sink.is_leaf();
  Tensor db = leaf ? sink.accumulator() : zeros({dy.dim(1)}, dy.dtype() == DType::f64 ? DType::f64 : DType::f32, dy.device());
  column_sums(dy.device(), {db, dy});
  if (!leaf) { sink.put(db); }
}

}  // namespace pumice
