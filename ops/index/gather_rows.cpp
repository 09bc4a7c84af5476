#include "pumice/ops/index/gather_rows.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/index/rows_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(gather_rows_kernel, GatherRows);
PUMICE_DEFINE_KERNEL(scatter_add_rows_kernel, ScatterAddRows);

Tensor checked_rows(const char* op, const char* operand, const Tensor& given, int64_t lowest, int64_t T, Device device) {
  require_dtype(op, operand, given, DType::i32);
  REQUIRE(ShapeError, given.rank() == 1, "[", op, "] ", operand, " must be (R), got ", given.shape());
  Tensor rows = packed(given);
  if (rows.device() == Device::cpu()) {
    const int32_t* r = rows.data<int32_t>();
    for (int64_t i = 0; i < rows.size(); ++i) {
      REQUIRE(ShapeError, r[i] >= lowest && r[i] < T, "[", op, "] ", operand, " must be in [", lowest, ", ", T, "), got ", r[i], " at ", i);
    }
  }
  return to_device(rows, device);
}

void scatter_add_into(const Tensor& y, const Tensor& x, const Tensor& rows, int beta) {
  Tensor first = empty({y.dim(0) + 1}, DType::i32, y.device()), next = empty({rows.size()}, DType::i32, y.device());
  scatter_add_rows_kernel(y.device(), {y, packed(x), rows, first, next, beta});
}

Tensor gather_rows(const Tensor& input, const Tensor& row_index) {
  require_float("gather_rows", "x", input);
  REQUIRE(ShapeError, input.rank() == 2, "[gather_rows] x must be (T, C), got ", input.shape());
  Tensor x = packed(input), rows = checked_rows("gather_rows", "rows", row_index, -1, x.dim(0), x.device());
  Tensor y = empty({rows.size(), x.dim(1)}, x.dtype(), x.device());
  gather_rows_kernel(x.device(), {y, x, rows});

  // dx[t] = sum of dy[i] over the i with rows[i] = t
  return record("gather_rows", y, {input}, [rows, shape = x.shape()](const Tensor& dy, std::span<GradSink> dx) {
    if (dx[0].is_leaf()) {
      scatter_add_into(dx[0].accumulator(), dy, rows, 1);
      return;
    }
    Tensor d = empty(shape, dy.dtype(), dy.device());
    scatter_add_into(d, dy, rows, 0);
    dx[0].put(d);
  });
}

Tensor scatter_add_rows(const Tensor& x, const Tensor& row_index, int64_t T) {
  require_float("scatter_add_rows", "x", x);
  REQUIRE(ShapeError, x.rank() == 2 && row_index.shape() == Shape{x.dim(0)}, "[scatter_add_rows] x (R, C) and rows (R) are required, got ", x.shape(),
          " and ", row_index.shape());
  Tensor rows = checked_rows("scatter_add_rows", "rows", row_index, -1, T, x.device());
  Tensor y = empty({T, x.dim(1)}, x.dtype(), x.device());
  scatter_add_into(y, x, rows, 0);

  // dx[i] = dy[rows[i]]
  return record("scatter_add_rows", y, {x}, [rows](const Tensor& dy, std::span<GradSink> dx) {
    Tensor g = packed(dy), d = empty({rows.size(), g.dim(1)}, g.dtype(), g.device());
    gather_rows_kernel(g.device(), {d, g, rows});
    dx[0].put(d);
  });
}

}  // namespace pumice
