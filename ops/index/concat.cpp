#include "pumice/ops/index/concat.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/require.h"

namespace pumice {

Tensor concat(const std::vector<Tensor>& parts, int axis) {
  REQUIRE(ShapeError, !parts.empty(), "[concat] at least one tensor is required");
  axis = normalize_axis("concat", axis, parts[0].rank());
  Shape shape = parts[0].shape();
  shape[axis] = 0;
  std::vector<int64_t> lengths;
  for (size_t i = 0; i < parts.size(); ++i) {
    require_dtype("concat", "every part", parts[i], parts[0].dtype());
    require_same_device("concat", parts[0], parts[i]);
    bool fits = parts[i].rank() == shape.rank();
    for (int a = 0; fits && a < shape.rank(); ++a) { fits = a == axis || parts[i].dim(a) == parts[0].dim(a); }
    REQUIRE(ShapeError, fits, "[concat] lengths must agree on every axis but ", axis, ", got ", parts[0].shape(), " and ", parts[i].shape(), " (part ", i, ")");
    lengths.push_back(parts[i].dim(axis));
    shape[axis] += lengths.back();
  }
  Tensor y = empty(shape, parts[0].dtype(), parts[0].device());
  int64_t begin = 0;
  for (size_t i = 0; i < parts.size(); begin += lengths[i++]) { copy_into(y.slice(axis, begin, begin + lengths[i]), parts[i]); }

  // each part's gradient is its own slice of dy
  return record("concat", y, parts, [axis, lengths](const Tensor& dy, std::span<GradSink> dx) {
    int64_t begin = 0;
    for (size_t i = 0; i < lengths.size(); begin += lengths[i++]) {
      if (dx[i].needed()) { dx[i].put(dy.slice(axis, begin, begin + lengths[i])); }
    }
  });
}

}  // namespace pumice
