#include "pumice/ops/random/dropout.h"

#include "pumice/autograd/autograd.h"
#include "pumice/ops/random/dropout_kernels.h"
#include "pumice/ops/require.h"
#include "pumice/tensor/rng.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(dropout_kernel, DropoutArgs);

Tensor dropout(const Tensor& input, double p, uint32_t site) {
  require_float("dropout", "x", input);
  REQUIRE(UsageError, p >= 0 && p < 1, "[dropout] the probability must be in [0, 1), got ", p);
  if (p == 0) { return input; }
  RandomKey key = random_key(site);
  Tensor x = packed(input), y = empty_like(x);
  dropout_kernel(x.device(), {y, x, key, p});

  // dx = dy mask / (1 - p), with the same mask
  return record("dropout", y, {input}, [key, p](const Tensor& dy, std::span<GradSink> dx) {
    Tensor g = packed(dy), d = empty_like(g);
    dropout_kernel(g.device(), {d, g, key, p});
    dx[0].put(d);
  });
}

}  // namespace pumice
