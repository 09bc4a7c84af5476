#include "pumice/moe/dispatch.h"

#include "../message_of.h"
#include "pumice/autograd/autograd.h"
#include "pumice/moe/dispatch_einsum.h"
#include "pumice/moe/grouped_linear.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/matmul/matmul.h"
#include "pumice/ops/reduce/reduce.h"
#include "routing_fixture.h"

namespace pumice {
namespace {

using testing::f64_of;
using testing::groups_of;
using testing::ints;
using testing::message_of;
using testing::random_logits;

// A routing of the given gates (S, 3), two choices, two places, without a softmax: exactly the numbers of vmoe/moe_test.py.
Routing three_tokens(Order order) {
  Routing r{.groups = groups_of({0, 3}), .capacity = {2}};
  r.expert = from_values<int32_t>({3, 2}, std::vector<int32_t>{0, 2, 0, 2, 2, 0});
  r.gate = f64_of({3, 2}, {.4, .2, .5, .4, .6, .3});
  Assignment a = assign_slots(r.expert, r.gate, r.groups, 3, r.capacity, order, {});
  r.slot = a.slot;
  r.row = a.row;
  r.token_of_row = a.token_of_row;
  r.expert_offsets = a.expert_offsets;
  return r;
}

// combine of an identity shows the weights: (S, E * Q)
std::vector<double> einsum_weights(const Routing& r) {
  std::vector<double> eye(36, 0);
  for (size_t i = 0; i < 6; ++i) { eye[7 * i] = 1; }
  return einsum_combine(f64_of({3, 2, 6}, eye), r).to_vector<double>();
}

TEST(EinsumDispatch, WeightsAreThoseOfTheReferenceImplementation) {
  EXPECT_EQ(einsum_weights(three_tokens(Order::position)),
            (std::vector<double>{.4, 0, 0, 0, 0, .2, 0, .5, 0, 0, 0, 0, 0, 0, 0, 0, .6, 0}));
  EXPECT_EQ(einsum_weights(three_tokens(Order::batch_priority)),
            (std::vector<double>{0, .4, 0, 0, 0, 0, .5, 0, 0, 0, 0, .4, 0, 0, 0, 0, .6, 0}));
}

TEST(EinsumDispatch, BuffersHoldTheTokens) {
  Tensor x = f64_of({3, 1}, {10, 20, 30});
  EXPECT_EQ(einsum_dispatch(x, three_tokens(Order::position)).to_vector<double>(), (std::vector<double>{10, 20, 0, 0, 30, 10}));
  EXPECT_EQ(dispatch(x, three_tokens(Order::position)).to_vector<double>(), (std::vector<double>{10, 20, 30, 10}));
}

struct Moe {
  std::vector<double> y, dx, dw, dlogits;
};

// y = combine(experts(dispatch(x))), one weight matrix per expert, and all gradients of sum(y * c).
Moe run_moe(bool einsum, const std::vector<int64_t>& offsets, const RouterOptions& options) {
  const int64_t T = offsets.back(), E = options.experts, C = 6, F = 4;
  RandomScope scope({.seed = 5});
  auto draw = [](const Shape& shape, uint32_t site) { return to_dtype(random_normal_tensor(shape, 0, 1, {.seed = 2, .site = site}), DType::f64); };
  Tensor x = requires_grad(draw({T, C}, 1)), w = requires_grad(draw({E, F, C}, 2)), logits = requires_grad(draw({T, E}, 3));
  Routing r = route(logits, groups_of(offsets), options, true, 8);
  Tensor y = einsum ? einsum_combine(matmul(einsum_dispatch(x, r), w, false, true), r)
                    : combine(grouped_linear(dispatch(x, r), w, Tensor(), r.expert_offsets), r);
  backward(sum(mul(y, draw({T, F}, 4))));
  auto gradient = [](const Tensor& leaf) { return grad(leaf).to_vector<double>(); };
  return {y.to_vector<double>(), gradient(x), gradient(w), gradient(logits)};
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) { ASSERT_NEAR(got[i], want[i], 1e-12) << i; }
}

TEST(Dispatch, IndexListsEqualTheEinsumForwardAndBackward) {
  for (int K : {1, 2, 3}) {
    for (const std::vector<int64_t>& offsets : {std::vector<int64_t>{0, 24}, {0, 16, 32, 48}, {0, 16, 32, 41}}) {
      for (Capacity train : {Capacity{.factor = 0.7, .multiple_of = 1}, Capacity::dropless()}) {
        for (Gates gates : {Gates::raw, Gates::renormalised}) {
          if (K == 1 && gates == Gates::renormalised) { continue; }
          RouterOptions options{.experts = 5, .experts_per_token = K, .train = train, .gates = gates};
          Moe indices = run_moe(false, offsets, options), spec = run_moe(true, offsets, options);
          expect_near(indices.y, spec.y);
          expect_near(indices.dx, spec.dx);
          expect_near(indices.dw, spec.dw);
          expect_near(indices.dlogits, spec.dlogits);
        }
      }
    }
  }
}

TEST(Combine, ADroppedTokenContributesExactlyZeroAndGetsNoGradient) {
  RouterOptions options{.experts = 2, .order = Order::position, .train = {.factor = 0.5, .multiple_of = 1}, .noise_std = 0};
  Tensor logits = requires_grad(zeros({8, 2})), x = requires_grad(full({8, 3}, 1));  // all want expert 0, which has two places
  Routing r = route(logits, groups_of({0, 8}), options, true, 1);
  Tensor y = combine(dispatch(x, r), r);
  backward(sum(y));
  std::vector<float> out = y.to_vector<float>(), dx = grad(x).to_vector<float>(), dlogits = grad(logits).to_vector<float>();
  for (size_t t = 0; t < 8; ++t) {
    for (size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(out[3 * t + c], t < 2 ? .5f : 0.f);
      EXPECT_EQ(dx[3 * t + c], t < 2 ? .5f : 0.f);
    }
    EXPECT_EQ(dlogits[2 * t], t < 2 ? .75f : 0.f);  // p0 p1 * sum(x)
  }
}

// Identical experts, no drops, renormalised gates: the sparse layer is the dense one (facts of MoE-LLaVA, right after conversion).
TEST(Combine, IdenticalExpertsAndRenormalisedGatesGiveTheDenseLayer) {
  RouterOptions options{.experts = 4, .experts_per_token = 2, .train = Capacity::dropless(), .gates = Gates::renormalised};
  Tensor x = random_normal_tensor({20, 6}, 0, 1, {.seed = 1}), w = random_normal_tensor({1, 5, 6}, 0, 1, {.seed = 2});
  Routing r = route(random_logits(20, 4), groups_of({0, 20}), options, true, 1);
  std::vector<double> sparse =
      combine(grouped_linear(dispatch(x, r), packed(w.expand({4, 5, 6})), Tensor(), r.expert_offsets), r).to_vector<double>();
  std::vector<double> dense = matmul(x, w.reshape({5, 6}), false, true).to_vector<double>();
  for (size_t i = 0; i < dense.size(); ++i) { ASSERT_NEAR(sparse[i], dense[i], 1e-5); }
}

TEST(Dispatch, ErrorsCarryShapes) {
  Routing r = three_tokens(Order::position);
  EXPECT_EQ(message_of<ShapeError>([&] { dispatch(zeros({4, 2}), r); }), "[dispatch] x must be (T, C) with T = 3 routed tokens, got (4, 2)");
  EXPECT_EQ(message_of<ShapeError>([&] { combine(zeros({3, 2}, DType::f64), r); }),
            "[combine] y must be (R, C) with R = 4 dispatched rows, got (3, 2)");
  EXPECT_EQ(message_of<DTypeError>([&] { combine(zeros({4, 2}), r); }), "[combine] gate must be f32, got f64 (3, 2)");
  EXPECT_EQ(message_of<DTypeError>([&] { dispatch(zeros({3, 2}, DType::i32), r); }), "[dispatch] x must be f32, bf16 or f64, got i32 (3, 2)");
}

}  // namespace
}  // namespace pumice
