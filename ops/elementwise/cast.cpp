#include "pumice/ops/elementwise/cast.h"

#include "pumice/autograd/saved.h"
#include "pumice/ops/require.h"

namespace pumice {

Tensor cast(const Tensor& x, DType dtype) {
  require_float("cast", "x", x);
  REQUIRE(DTypeError, is_float(dtype), "[cast] the new dtype must be f32, bf16 or f64, got ", name(dtype));
  if (x.dtype() == dtype) { return x; }
  Tensor y = record("cast", to_dtype(x, dtype), {x}, [back = x.dtype()](const Tensor& dy, std::span<GradSink> dx) {
    dx[0].put(dx[0].is_leaf() ? dy : to_dtype(dy, back));
  });
  Saved saved(x);  // x is the smaller of the two, or need not be kept either
  if (size_of(dtype) < size_of(x.dtype()) && !saved.is_remade()) { return y; }
  return remakeable(y, [saved, dtype] { return to_dtype(saved.get(), dtype); });
}

}  // namespace pumice
