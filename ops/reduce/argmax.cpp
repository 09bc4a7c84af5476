#include "pumice/ops/reduce/argmax.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/reduce/reduce_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

Tensor argmax(const Tensor& input) {
  require_float("argmax", "x", input);
  REQUIRE(ShapeError, input.rank() >= 1 && input.dim(-1) > 0, "[argmax] x must be (..., C) with C > 0, got ", input.shape());
  Tensor x = packed(input);
  const int64_t C = x.dim(-1), rows = x.size() / C;
  Tensor top = empty({rows, 1}, x.dtype(), x.device()), index = empty({rows, 1}, DType::i64, x.device());
  if (rows) { max_axis(x.device(), {top, index, x.reshape({rows, C, 1})}); }
  return record_no_grad("argmax", to_dtype(index, DType::i32).reshape(Shape(input.shape().begin(), input.rank() - 1)));
}

}  // namespace pumice
