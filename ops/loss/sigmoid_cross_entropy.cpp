#include "pumice/ops/loss/sigmoid_cross_entropy.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/loss/sigmoid_cross_entropy_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(sigmoid_cross_entropy_fwd, SigmoidCrossEntropyFwd);
PUMICE_DEFINE_KERNEL(sigmoid_cross_entropy_bwd, SigmoidCrossEntropyBwd);

Tensor sigmoid_cross_entropy(const Tensor& logits, const Tensor& targets) {
  require_float("sigmoid_cross_entropy", "logits", logits);
  require_dtype("sigmoid_cross_entropy", "labels", targets, DType::i32);
  REQUIRE(ShapeError, logits.rank() == 2 && logits.dim(0) > 0 && targets.shape() == Shape{logits.dim(0)},
          "[sigmoid_cross_entropy] logits must be (N, V) with at least one row and labels (N), got ", logits.shape(), " and ", targets.shape());
  require_same_device("sigmoid_cross_entropy", logits, targets);
  Tensor x = packed(logits), labels = packed(targets);
  const int64_t N = x.dim(0), V = x.dim(1);
  std::vector<int32_t> values = labels.to_vector<int32_t>();
  for (int64_t n = 0; n < N; ++n) {
    REQUIRE(UsageError, values[n] >= 0 && values[n] < V, "[sigmoid_cross_entropy] labels must be in [0, ", V, "), got ", values[n], " in row ", n, " of ", N);
  }
  const DType wide = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  Tensor loss = empty({}, wide, x.device());
  sigmoid_cross_entropy_fwd(x.device(), {loss, empty({N}, wide, x.device()), x, labels, N, V});

  // dx_nv = dy / N * (sigmoid(x_nv) - [v = label_n])
  return record("sigmoid_cross_entropy", loss, {logits}, [x, labels, N, V](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dlogits = empty_like(x);
    sigmoid_cross_entropy_bwd(x.device(), {dlogits, dy, x, labels, N, V});
    dx[0].put(dlogits);
  });
}

}  // namespace pumice
