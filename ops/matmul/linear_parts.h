// What linear and mlp share: the residual that they add, and gradients of weights and biases, which go to a leaf's own memory where there is one, so that
// nothing is copied.
#pragma once
#include "pumice/autograd/autograd.h"
#include "pumice/ops/matmul/epilogue.h"

namespace pumice {

// The residual that is added to y (..., out), if there is one, as (R, out) and packed, and how a product adds it. Throws ShapeError, DTypeError, DeviceError.
Tensor packed_residual(const char* op, const Tensor& residual, const Tensor& y);
inline Epilogue adding(const Tensor& rows) { return rows.defined() ? Epilogue{.kind = Epilogue::add, .other = rows} : Epilogue{}; }
// dw = dy^T x of w (out, in), for dy (R, out) and x (R, in), both packed; dtype of w.
void put_weight_gradient(GradSink& dw, const Tensor& w, const Tensor& dy, const Tensor& x);
// db = sum over the rows of dy; f32 (f64).
void put_bias_gradient(GradSink& db, const Tensor& dy);

}  // namespace pumice
