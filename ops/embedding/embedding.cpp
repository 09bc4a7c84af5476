#include "pumice/ops/embedding/embedding.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/index/rows_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

Tensor embedding(const Tensor& ids_in, const Tensor& table) {
  require_float("embedding", "table", table);
  REQUIRE(ShapeError, table.rank() == 2, "[embedding] table must be (V, C), got ", table.shape());
  Tensor weight = packed(table);
  Tensor ids = checked_rows("embedding", "ids", ids_in.rank() == 1 ? ids_in : packed(ids_in).reshape({ids_in.size()}), 0, table.dim(0), table.device());
  Shape shape = ids_in.shape();
  shape.push_back(table.dim(1));
  Tensor y = empty(shape, table.dtype(), table.device());
  gather_rows_kernel(table.device(), {y.reshape({ids.size(), table.dim(1)}), weight, ids});

  // dtable[v] = sum of dy[i] over the i with ids[i] = v
  return record("embedding", y, {table}, [ids, shape = table.shape()](const Tensor& dy, std::span<GradSink> dx) {
    Tensor g = packed(dy).reshape({ids.size(), shape[1]});
    if (dx[0].is_leaf()) {
      scatter_add_into(dx[0].accumulator(), g, ids, 1);
      return;
    }
    Tensor d = empty(shape, g.dtype(), g.device());
    scatter_add_into(d, g, ids, 0);
    dx[0].put(d);
  });
}

}  // namespace pumice
