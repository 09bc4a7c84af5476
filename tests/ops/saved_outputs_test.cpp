// What an op saves of its input is not the output of an activation or a norm, which is made again (autograd/saved.h).
#include <gtest/gtest.h>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/ops/elementwise/swiglu.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/ops/norm/layer_norm.h"
#include "pumice/ops/norm/rms_norm.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

Tensor random(const Shape& shape, uint32_t site) { return random_uniform_tensor(shape, -1, 1, {.seed = 1, .site = site}); }

// The gradients of x and w where w multiplies the output of `op`, and the bytes that the graph holds.
struct Measured {
  std::vector<float> dx, dw;
  int64_t bytes;
};
template <class Op> Measured measure(const Op& op) {
  Tensor x = requires_grad(random({64, 256}, 1)), w = requires_grad(random({8, 256}, 2)), dy = random({64, 8}, 3);
  const int64_t before = memory_stats().in_use;
  Tensor y = linear(op(x), w, Tensor());
  const int64_t bytes = memory_stats().in_use - before - y.bytes();
  backward({&y, 1}, {&dy, 1});
  return {grad(x).to_vector<float>(), grad(w).to_vector<float>(), bytes};
}
// `op` without its recipe: a view has none.
template <class Op> Measured measure_kept(const Op& op) {
  return measure([&](const Tensor& x) {
    Tensor y = op(x);
    return record("kept", y.detach(), {y}, [](const Tensor& dy, std::span<GradSink> dx) { dx[0].put(dy); });
  });
}

TEST(SavedOutputs, OfActivationsAndNormsAreNotHeld) {
  Tensor one = full({256}, 1), zero = zeros({256}), up = random({64, 256}, 4);
  const auto check = [](const char* name, const auto& op) {
    measure(op);  // kernels keep their scratch
    Measured remade = measure(op), kept = measure_kept(op);
    EXPECT_EQ(remade.dx, kept.dx) << name;
    EXPECT_EQ(remade.dw, kept.dw) << name;
    EXPECT_LE(remade.bytes + 64 * 256 * 4, kept.bytes) << name;
    EXPECT_LT(remade.bytes, 64 * 256 * 4) << name << ": x and the statistics of rows are all that is held";
  };
  check("gelu", [](const Tensor& x) { return gelu(x); });
  check("layer_norm", [&](const Tensor& x) { return layer_norm(x, one, zero); });
  check("rms_norm", [&](const Tensor& x) { return rms_norm(x, one); });
  check("swiglu", [&](const Tensor& x) { return swiglu(x, up); });
}

}  // namespace
}  // namespace pumice
