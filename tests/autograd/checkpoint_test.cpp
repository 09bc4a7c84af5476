#include <gtest/gtest.h>

#include <cmath>

#include "pumice/tensor/rng.h"
#include "toy_ops.h"

namespace pumice {
namespace {

using namespace testing;

// Multiplies by random numbers of the step, as dropout does.
Tensor shake(const Tensor& x, uint32_t site) { return mul(x, to_dtype(random_uniform_tensor(x.shape(), 0.5, 1.5, random_key(site)), DType::f64)); }

struct Result {
  double y;
  std::vector<double> dx, dw;
};

template <class F> Result run(const F& f) {
  RandomScope scope({.seed = 3, .step = 9});
  Tensor x = requires_grad(values({3}, {1, -2, 0.5})), w = requires_grad(values({3}, {0.1, 0.2, 0.3}));
  Tensor y = sum(f(x, w));
  double value = y.item();
  RandomScope another({.seed = 4});  // what the forward pass drew must not depend on the scope of the backward pass
  backward(y);
  return {value, grad_values(x), grad_values(w)};
}

Tensor block(const Tensor& x, const Tensor& w, uint32_t site) { return mul(shake(mul(x, w), site), x); }

TEST(Checkpoint, SameValuesGradientsAndRandomNumbers) {
  Result plain = run([](const Tensor& x, const Tensor& w) { return block(block(x, w, 1), w, 2); });
  auto saved = [](const Tensor& x, const Tensor& w, uint32_t site) {
    return checkpoint([w, site](std::span<const Tensor> in) { return std::vector<Tensor>{block(in[0], w, site)}; }, {x})[0];
  };
  Result again = run([&](const Tensor& x, const Tensor& w) { return saved(saved(x, w, 1), w, 2); });
  EXPECT_EQ(plain.y, again.y);
  EXPECT_EQ(plain.dx, again.dx);
  EXPECT_EQ(plain.dw, again.dw);  // w is captured, not passed

  Result nested = run([&](const Tensor& x, const Tensor& w) {
    return checkpoint([&saved, w](std::span<const Tensor> in) { return std::vector<Tensor>{saved(saved(in[0], w, 1), w, 2)}; }, {x})[0];
  });
  EXPECT_EQ(plain.y, nested.y);
  EXPECT_EQ(plain.dx, nested.dx);
  EXPECT_EQ(plain.dw, nested.dw);
}

TEST(Checkpoint, SavesOnlyItsInputs) {
  Tensor x = requires_grad(values({3}, {1, 2, 3}));
  int calls = 0;
  const int64_t before = Tensor::live_count();
  Tensor y = checkpoint([&calls](std::span<const Tensor> in) {
    ++calls;
    Tensor t = in[0];
    for (int i = 0; i < 20; ++i) { t = mul(t, in[0]); }
    return std::vector<Tensor>{t};
  }, {x})[0];
  EXPECT_LE(Tensor::live_count(), before + 2);  // the output and the saved input
  y = sum(y);
  backward(y);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(grad_values(x)[1], 21 * std::pow(2.0, 20));
}

TEST(Checkpoint, OutputsThatNobodyUses) {
  Tensor x = requires_grad(values({3}, {1, -2, 3}));
  std::vector<Tensor> parts = checkpoint([](std::span<const Tensor> in) { return split_by_sign(in[0]); }, {x});
  backward(sum(parts[1]));
  EXPECT_EQ(grad_values(x), std::vector<double>({0, 1, 0}));
}

TEST(Checkpoint, WithoutGradientsItJustRuns) {
  NoGrad no_grad;
  int calls = 0;
  checkpoint([&calls](std::span<const Tensor> in) { ++calls; return std::vector<Tensor>{in[0]}; }, {values({1}, {1})});
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace pumice
