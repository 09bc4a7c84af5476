#include "pumice/ops/loss/cross_entropy.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/loss/cross_entropy_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(cross_entropy_fwd, CrossEntropyFwd);
PUMICE_DEFINE_KERNEL(cross_entropy_bwd, CrossEntropyBwd);

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, int ignore, double smoothing) {
  require_float("cross_entropy", "logits", logits);
  require_dtype("cross_entropy", "labels", targets, DType::i32);
  REQUIRE(ShapeError, logits.rank() == 2 && targets.shape() == Shape{logits.dim(0)},
          "[cross_entropy] logits must be (N, V) and labels (N), got ", logits.shape(), " and ", targets.shape());
  REQUIRE(UsageError, smoothing >= 0 && smoothing <= 1, "[cross_entropy] label_smoothing must be in [0, 1], got ", smoothing);
  require_same_device("cross_entropy", logits, targets);
  Tensor x = packed(logits), labels = packed(targets);
  const int64_t N = x.dim(0), V = x.dim(1);

  DType wide = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  Tensor loss = empty({}, wide, x.device()), lse = empty({N}, wide, x.device()), census = empty({2}, DType::i64, x.device());
  cross_entropy_fwd(x.device(), {loss, lse, census, empty_like(lse), x, labels, N, V, ignore, smoothing});
  std::vector<int64_t> counted = census.to_vector<int64_t>();
  REQUIRE(UsageError, counted[1] < 0, "[cross_entropy] labels must be in [0, ", V, ") or ", ignore, " (ignored), got ",
          labels.slice(0, counted[1], counted[1] + 1).item(), " in row ", counted[1], " of ", N, " for logits ", x.shape(),
          ": does the vocabulary of the data fit the model?");
  REQUIRE(ShapeError, counted[0] > 0, "[cross_entropy] at least one label that is not ignored is required, all ", N, " are ",
          ignore, " for logits ", x.shape(), ": was the answer cut off by the length limit?");

  // dx = dy / counted * (softmax(x) - (1 - s) * onehot(label) - s / V), zero in ignored rows
  return record("cross_entropy", loss, {logits},
                [x, labels, lse, census, N, V, ignore, smoothing](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dlogits = empty_like(x);
    cross_entropy_bwd(x.device(), {dlogits, dy, x, labels, lse, census, N, V, ignore, smoothing});
    dx[0].put(dlogits);
  });
}

}  // namespace pumice
