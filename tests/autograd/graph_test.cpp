#include <gtest/gtest.h>

#include <cmath>

#include "../message_of.h"
#include "toy_ops.h"

namespace pumice {
namespace {

using namespace testing;
using Values = std::vector<double>;

TEST(Graph, TheExampleOfTheHeader) {
  Tensor w = requires_grad(full({3}, 2.0, DType::f64));
  Tensor y = sum(mul(w, w));
  EXPECT_FALSE(grad(w).defined());
  backward(y);
  EXPECT_EQ(grad_values(w), Values({4, 4, 4}));
}

TEST(Graph, AValueUsedManyTimesSumsItsGradients) {
  Tensor x = requires_grad(values({2}, {3, -1}));
  Tensor y = mul(x, x);            // y = x^2
  Tensor z = add(add(y, y), y);    // 3 x^2: y fans out three times, and its first gradient arrives shared
  backward(sum(add(z, x)));
  EXPECT_EQ(grad_values(x), Values({19, -5}));
}

TEST(Graph, DiamondsRunEachNodeOnce) {
  Tensor x = requires_grad(values({1}, {1}));
  int calls = 0;
  auto twice = [&](const Tensor& t) {
    return record("twice", mul(t.detach(), full({1}, 2, DType::f64)), {t}, [&calls](const Tensor& dy, std::span<GradSink> dx) {
      ++calls;
      dx[0].put(mul(dy, full({1}, 2, DType::f64)));
    });
  };
  Tensor y = x;
  for (int i = 0; i < 40; ++i) {  // 2^40 paths
    Tensor d = twice(y);
    y = add(d, d);
  }
  backward(y);
  EXPECT_EQ(calls, 40);
  EXPECT_EQ(grad_values(x), Values({std::pow(4.0, 40)}));
}

TEST(Graph, GradientsAccumulateOverPasses) {
  Tensor x = requires_grad(values({2}, {1, 2}));
  for (int pass = 0; pass < 3; ++pass) { backward(sum(mul(x, x))); }
  EXPECT_EQ(grad_values(x), Values({6, 12}));
}

TEST(Graph, ViewsOfOneParameterShareItsLeaf) {
  auto leaf = std::make_shared<Leaf>();
  Tensor array = values({2}, {1, 5});
  Tensor a = attach_leaf(array, leaf), b = attach_leaf(array, leaf);
  backward(sum(mul(a, add(a, b))));
  EXPECT_EQ(leaf->grad.to_vector<double>(), Values({4, 20}));  // d/dx of 2 x^2
}

TEST(Graph, UnusedOutputsHaveNoGradient) {
  Tensor x = requires_grad(values({3}, {1, -2, 3}));
  std::vector<Tensor> parts = split_by_sign(x);
  backward(sum(mul(parts[0], parts[0])));
  EXPECT_EQ(grad_values(x), Values({2, 0, 6}));

  Tensor y = requires_grad(values({3}, {1, -2, 3}));
  parts = split_by_sign(y);
  backward(sum(add(mul(parts[0], parts[0]), parts[1])));
  EXPECT_EQ(grad_values(y), Values({2, 1, 6}));
}

TEST(Graph, SeveralOutputsWithTheirGradients) {
  Tensor x = requires_grad(values({2}, {1, 2})), z = requires_grad(values({2}, {7, 7}));
  Tensor y = mul(x, x);
  Tensor outputs[] = {y, sum(x), z, mul(z, z)}, gradients[] = {values({2}, {1, 10}), full({}, 100, DType::f64), values({2}, {5, 6}), Tensor()};
  backward(outputs, gradients);
  EXPECT_EQ(grad_values(x), Values({102, 140}));
  EXPECT_EQ(grad_values(z), Values({5, 6}));
}

TEST(Graph, DeepGraphsNeitherRecurseNorOverflow) {
  Tensor x = requires_grad(values({1}, {1})), one = full({1}, 1, DType::f64);
  Tensor y = x;
  for (int i = 0; i < 200'000; ++i) { y = add(y, one); }
  {
    Tensor unused = y;
    for (int i = 0; i < 200'000; ++i) { unused = add(unused, one); }
  }  // freed here without a backward pass
  backward(y);
  EXPECT_EQ(grad_values(x), Values({1}));
}

TEST(Graph, NothingStaysAlive) {
  const int64_t before = Tensor::live_count();
  {
    Tensor x = requires_grad(values({4}, {1, 2, 3, 4}));
    Tensor y = sum(mul(add(x, x), x));
    Tensor abandoned = mul(y, y);
  }
  EXPECT_EQ(Tensor::live_count(), before);
}

TEST(Graph, SavedTensorsAreFreedAsThePassMoves) {
  Tensor x = requires_grad(values({4}, {1, 2, 3, 4}));
  Tensor y = x;
  for (int i = 0; i < 10; ++i) { y = mul(y, x); }
  y = sum(y);
  const int64_t before = Tensor::live_count();
  backward(y);
  EXPECT_LE(Tensor::live_count(), before - 10);  // y is still held, and none of what its graph had saved
}

TEST(Graph, NoGradRecordsNothing) {
  Tensor x = requires_grad(values({1}, {2}));
  {
    NoGrad outer;
    { NoGrad inner; }
    EXPECT_FALSE(grad_enabled());
    EXPECT_FALSE(needs_grad(mul(x, x)));
  }
  EXPECT_TRUE(grad_enabled());
  EXPECT_TRUE(needs_grad(mul(x, x)));
  EXPECT_FALSE(needs_grad(mul(x.detach(), x.detach())));
}

TEST(Graph, ASecondPassSaysWhy) {
  Tensor x = requires_grad(values({1}, {2}));
  Tensor y = mul(x, x);
  backward(y);
  EXPECT_EQ(message_of<AutogradError>([&] { backward(y); }),
            "[mul] this graph was already run backward and its saved tensors are freed; run the forward pass again");
}

TEST(Graph, MisuseIsNamed) {
  Tensor x = requires_grad(values({2}, {1, 2}));
  EXPECT_NE(message_of<ShapeError>([&] { backward(mul(x, x)); }).find("[backward] a scalar is required, got (2)"), std::string::npos);
  EXPECT_NE(message_of<AutogradError>([&] { backward(full({}, 1, DType::f64)); }).find("made from nothing that requires a gradient"),
            std::string::npos);
  EXPECT_NE(message_of<AutogradError>([&] { grad(mul(x, x)); }).find("got the result of an op"), std::string::npos);
  EXPECT_NE(message_of<AutogradError>([&] { grad(x.detach()); }).find("requires no gradient"), std::string::npos);
  EXPECT_NE(message_of<DTypeError>([&] { requires_grad(full({2}, 1, DType::i32)); }).find("integer tensors have no gradient"), std::string::npos);
  Tensor outputs[] = {mul(x, x)}, wrong[] = {full({3}, 1, DType::f64)};
  EXPECT_NE(message_of<ShapeError>([&] { backward(outputs, wrong); }).find("its output's shape (2), got (3)"), std::string::npos);
}

// What an op's author gets wrong is found at the first backward pass.
TEST(Graph, AWrongBackwardIsNamed) {
  Tensor x = requires_grad(values({2}, {1, 2}));
  auto wrong = [&](const Backward1& f) { return record("wrong", sum(x.detach()), {x}, f); };
  EXPECT_NE(message_of<AutogradError>([&] { backward(wrong([](const Tensor&, std::span<GradSink>) {})); })
                .find("[wrong] backward gave input 0 (2) no gradient"), std::string::npos);
  EXPECT_NE(message_of<ShapeError>([&] { backward(wrong([](const Tensor& dy, std::span<GradSink> dx) { dx[0].put(dy); })); })
                .find("its input's shape (2), got ()"), std::string::npos);
  Tensor y = mul(x, x);
  Tensor z = record("wrong", sum(y.detach()), {y}, [](const Tensor&, std::span<GradSink> dx) { dx[0].put(full({2}, 1)); });
  EXPECT_NE(message_of<DTypeError>([&] { backward(z); }).find("its input's dtype f64, got f32"), std::string::npos);
  z = record("wrong", sum(y.detach()), {y}, [](const Tensor&, std::span<GradSink> dx) { dx[0].accumulator(); });
  EXPECT_NE(message_of<AutogradError>([&] { backward(z); }).find("accumulator() belongs to leaves"), std::string::npos);
}

TEST(Graph, SkippedInputsReceiveNothing) {
  Tensor x = requires_grad(values({2}, {1, 2})), y = requires_grad(values({2}, {3, 4}));
  backward(record("first", sum(x.detach()), {x, y}, [](const Tensor&, std::span<GradSink> dx) {
    EXPECT_TRUE(dx[0].needed() && dx[0].is_leaf());
    add_into(dx[0].accumulator(), full({2}, 1, DType::f64));
    dx[1].skip();
  }));
  EXPECT_EQ(grad_values(x), Values({1, 1}));
  EXPECT_FALSE(grad(y).defined());
}

// 3 x, whose backward pass adds 3 dy to what others have given x, if it may.
Tensor tripled(const Tensor& x, std::vector<int>& betas) {
  auto times3 = [](const Tensor& t) { return mul(t, full(t.shape(), 3, DType::f64)); };
  return record("tripled", times3(x.detach()), {x}, [&betas, times3](const Tensor& dy, std::span<GradSink> dx) {
    auto [array, beta] = dx[0].place();
    betas.push_back(beta);
    if (beta) { add_into(array, times3(dy)); }
    else { copy_into(array, times3(dy)); }
    dx[0].put(array);
  });
}

TEST(Graph, AnOpAddsToWhatOthersGave) {
  std::vector<int> betas;
  Tensor x = requires_grad(values({2}, {1, 2})), one = full({2}, 1, DType::f64);
  Tensor h = mul(x, one), early = tripled(h, betas), square = mul(h, h), late = tripled(h, betas);  // backward runs from late to early
  backward(sum(add(add(early, square), late)));
  EXPECT_EQ(grad_values(x), Values({8, 10}));
  EXPECT_EQ(betas, std::vector<int>({0, 1}));

  betas.clear();  // one tensor is the gradient of both terms of a sum: the first op adds to a copy
  Tensor y = requires_grad(values({2}, {1, 2}));
  Tensor a = mul(y, one), b = mul(y, one);
  Tensor of_a = tripled(a, betas), of_b = tripled(b, betas), both = mul(add(a, b), one);
  backward(sum(add(add(of_a, of_b), both)));
  EXPECT_EQ(grad_values(y), Values({8, 8}));
  EXPECT_EQ(betas, std::vector<int>({1, 1}));

  betas.clear();  // a leaf keeps what the pass before gave it
  Tensor z = requires_grad(values({2}, {1, 2}));
  for (int pass = 0; pass < 2; ++pass) { backward(sum(tripled(z, betas))); }
  EXPECT_EQ(grad_values(z), Values({6, 6}));
  EXPECT_EQ(betas, std::vector<int>({0, 1}));
}

TEST(Graph, AGradientThatTheCallerHoldsIsNotWrittenTo) {
  std::vector<int> betas;
  Tensor x = requires_grad(values({2}, {1, 2}));
  Tensor h = mul(x, full({2}, 1, DType::f64)), early = tripled(h, betas), square = mul(h, h);
  Tensor outputs[] = {h, early, square}, gradients[] = {values({2}, {5, 6}), values({2}, {1, 1}), values({2}, {1, 1})};
  backward(outputs, gradients);
  EXPECT_EQ(grad_values(x), Values({10, 13}));
  EXPECT_EQ(gradients[0].to_vector<double>(), Values({5, 6}));
  EXPECT_EQ(gradients[1].to_vector<double>(), Values({1, 1}));

  Tensor y = requires_grad(values({2}, {1, 2})), leaf_outputs[] = {y}, given[] = {values({2}, {5, 6})};
  backward(leaf_outputs, given);
  backward(sum(mul(y, y)));
  EXPECT_EQ(grad_values(y), Values({7, 10}));
  EXPECT_EQ(given[0].to_vector<double>(), Values({5, 6}));
}

// A bf16 leaf sums in f32: 512 contributions of 1/256 would be lost in bf16 as soon as the sum passes 1.
TEST(Graph, LowPrecisionLeavesSumInF32) {
  Tensor x = requires_grad(full({1}, 1, DType::bf16));
  for (int i = 0; i < 512; ++i) {
    backward(
        record("small", full({1}, 0, DType::bf16), {x}, [](const Tensor&, std::span<GradSink> dx) { dx[0].put(full({1}, 1.0 / 256, DType::bf16)); }));
  }
  EXPECT_EQ(grad(x).dtype(), DType::f32);
  EXPECT_EQ(grad(x).item(), 2);
}

TEST(ValueCheck, NamesTheOpTheElementAndTheInputs) {
  Tensor x = requires_grad(values({2, 2}, {1, 2, 3, 1e200}));
  EXPECT_TRUE(std::isinf(mul(x, x).to_vector<double>()[3]));
  ValueCheck check;
  EXPECT_EQ(message_of<NumericError>([&] { mul(x, x); }),
            "[mul] forward made inf at (1, 1) of (2, 2); input 0 (2, 2) lies in [1, 1e+200]; input 1 (2, 2) lies in [1, 1e+200]");
}

TEST(ValueCheck, FindsGradientsToo) {
  Tensor x = requires_grad(values({2}, {1, 2}));
  Tensor y = mul(x, x);
  Tensor z = record("root", sum(y.detach()), {y}, [](const Tensor&, std::span<GradSink> dx) { dx[0].put(values({2}, {1, NAN})); });
  ValueCheck check;
  EXPECT_NE(message_of<NumericError>([&] { backward(z); }).find("[root] backward made nan at (1) of (2)"), std::string::npos);
}

}  // namespace
}  // namespace pumice
