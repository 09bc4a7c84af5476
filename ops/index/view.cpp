#include "pumice/ops/index/view.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/reduce/sum_to.h"
#include "pumice/tensor/error.h"

namespace pumice {

Tensor reshape(const Tensor& x, const Shape& shape) {
  return record("reshape", packed(x).reshape(shape), {x}, [old = x.shape()](const Tensor& dy, std::span<GradSink> dx) {
    dx[0].put(packed(dy).reshape(old));
  });
}

Tensor slice(const Tensor& x, int axis, int64_t begin, int64_t end) {
  return record("slice", x.slice(axis, begin, end), {x}, [shape = x.shape(), axis, begin, end](const Tensor& dy, std::span<GradSink> dx) {
    Tensor d = zeros(shape, dy.dtype(), dy.device());
    copy_into(d.slice(axis, begin, end), dy);
    dx[0].put(d);
  });
}

Tensor permute(const Tensor& x, const std::vector<int>& axes) {
  return record("permute", x.permute(axes), {x}, [axes](const Tensor& dy, std::span<GradSink> dx) {
    std::vector<int> back(axes.size());
    for (size_t i = 0; i < axes.size(); ++i) { back[normalize_axis("permute", axes[i], int(axes.size()))] = int(i); }
    dx[0].put(dy.permute(back));
  });
}

Tensor transpose(const Tensor& x, int a, int b) {
  return record("transpose", x.transpose(a, b), {x}, [a, b](const Tensor& dy, std::span<GradSink> dx) { dx[0].put(dy.transpose(a, b)); });
}

Tensor expand(const Tensor& x, const Shape& shape) {
  return record("expand", x.expand(shape), {x}, [old = x.shape()](const Tensor& dy, std::span<GradSink> dx) { dx[0].put(sum_to(dy, old)); });
}

}  // namespace pumice
