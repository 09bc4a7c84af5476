#include "pumice/nn/parameter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/reduce/reduce.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

struct Moments { double mean, deviation, low, high; };
Moments moments_of(const Tensor& t) {
  Moments m{0, 0, INFINITY, -INFINITY};
  std::vector<double> v = t.to_vector<double>();
  for (double x : v) {
    m.mean += x / double(v.size());
    m.low = std::min(m.low, x);
    m.high = std::max(m.high, x);
  }
  for (double x : v) { m.deviation += (x - m.mean) * (x - m.mean) / double(v.size()); }
  m.deviation = std::sqrt(m.deviation);
  return m;
}

TEST(Init, Distributions) {
  ParameterStore store(1);
  Scope root(store);
  auto draw = [&](const char* name, const Shape& shape, const Init& init) { return moments_of(root.parameter(name, shape, init, true)->master()); };
  Moments m = draw("xavier", {200, 100}, Init::xavier_uniform());  // bound sqrt(6 / 300)
  EXPECT_NEAR(m.mean, 0, 2e-3);
  EXPECT_NEAR(m.high, std::sqrt(0.02), 1e-4);
  EXPECT_NEAR(m.low, -std::sqrt(0.02), 1e-4);
  EXPECT_NEAR(m.deviation, std::sqrt(0.02 / 3), 1e-3);
  m = draw("lecun", {200, 100}, Init::lecun_normal());
  EXPECT_NEAR(m.deviation, 0.1, 2e-3);
  EXPECT_LE(m.high, 2 * 0.1 / 0.87962566 + 1e-6);  // cut at two deviations of the uncut normal
  m = draw("normal", {200, 100}, Init::normal(0.02));
  EXPECT_NEAR(m.deviation, 0.02, 5e-4);
  EXPECT_GT(m.high, 0.06);
  m = draw("uniform", {20000}, Init::uniform(0.5));
  EXPECT_NEAR(m.high, 0.5, 1e-3);
  m = draw("constant", {7}, Init::constant(3));
  EXPECT_EQ(m.low, 3);
  EXPECT_EQ(m.high, 3);
}

TEST(Init, ExpertsAreDrawnApartOrRepeated) {
  ParameterStore store(1);
  Scope root(store);
  Tensor apart = root.parameter("apart", {3, 4, 5}, Init::xavier_uniform(), true)->master();
  Tensor alike = root.parameter("alike", {3, 4, 5}, Init::xavier_uniform().repeated(), true)->master();
  auto expert = [](const Tensor& t, int64_t e) { return t.slice(0, e, e + 1).to_vector<double>(); };
  EXPECT_NE(expert(apart, 0), expert(apart, 1));
  EXPECT_EQ(expert(alike, 0), expert(alike, 1));
  EXPECT_EQ(expert(alike, 0), expert(alike, 2));
}

// So that a model with one more layer starts the others alike.
TEST(Init, DependsOnSeedAndNameOnly) {
  auto weights = [](uint64_t seed, bool other_first) {
    ParameterStore store(seed);
    Scope root(store);
    if (other_first) { root.parameter("other", {8}, Init::normal(1), false); }
    return (root / "block0").parameter("weight", {16}, Init::normal(1), true)->master().to_vector<double>();
  };
  EXPECT_EQ(weights(1, false), weights(1, true));
  EXPECT_NE(weights(1, false), weights(2, false));
}

TEST(ParameterStore, PackLaysOutOneArena) {
  ParameterStore store(1);
  Scope root(store);
  Parameter* a = root.parameter("a", {2, 3}, Init::normal(1), true);
  Parameter* b = (root / "child").parameter("b", {4}, Init::constant(7), false);
  std::vector<double> before = a->master().to_vector<double>();
  store.pack();
  EXPECT_EQ(store.size(), 10);
  EXPECT_EQ(b->name(), "child.b");
  EXPECT_EQ(store.find("child.b"), b);
  EXPECT_EQ(store.find("b"), nullptr);
  EXPECT_EQ(a->arena_offset(), 0);
  EXPECT_EQ(b->arena_offset(), 16) << "64 bytes";
  EXPECT_EQ(store.arena_size(), 32);
  EXPECT_EQ(a->master().to_vector<double>(), before);
  EXPECT_EQ(store.masters().to_vector<double>()[16], 7);
  EXPECT_TRUE(a->decay());
  EXPECT_FALSE(b->decay());
  EXPECT_EQ(message_of<UsageError>([&] { root.parameter("late", {1}, Init::zeros(), false); }),
            "[parameters] 'late' is added after pack(); make every layer first");
  EXPECT_NE(message_of<UsageError>([&] { store.pack(); }).find("already called"), std::string::npos);
}

TEST(ParameterStore, NamesAreUnique) {
  ParameterStore store(1);
  Scope root(store);
  root.parameter("a", {1}, Init::zeros(), false);
  EXPECT_EQ(message_of<UsageError>([&] { root.parameter("a", {1}, Init::zeros(), false); }), "[parameters] the name 'a' is taken");
}

TEST(ParameterStore, GradientsLandInTheArena) {
  ParameterStore store(1);
  Scope root(store);
  Parameter* a = root.parameter("a", {3}, Init::constant(2), true);
  Parameter* b = root.parameter("b", {2}, Init::constant(1), true);
  store.pack();
  backward(sum(mul(a->value(), a->value())));
  auto gradients = [&](const Parameter* p) { return store.gradients().slice(0, p->arena_offset(), p->arena_offset() + p->size()).to_vector<double>(); };
  EXPECT_EQ(gradients(a), std::vector<double>({4, 4, 4}));
  EXPECT_EQ(gradients(b), std::vector<double>({0, 0}));
  EXPECT_EQ(store.unreached(), std::vector<std::string>{"b"});
  backward(sum(b->value()));
  EXPECT_EQ(gradients(b), std::vector<double>({1, 1}));
  EXPECT_TRUE(store.unreached().empty());
  store.zero_gradients();
  EXPECT_EQ(store.gradients().to_vector<double>(), std::vector<double>(size_t(store.arena_size())));
  EXPECT_EQ(store.unreached().size(), 2u);
}

TEST(Parameter, TheBf16CopyFollowsTheMaster) {
  ParameterStore store(1);
  Parameter* a = Scope(store).parameter("a", {2}, Init::constant(1), true);
  store.pack();
  Tensor first = a->value(DType::bf16);
  EXPECT_EQ(first.dtype(), DType::bf16);
  EXPECT_TRUE(first.same_as(a->value(DType::bf16)));  // one copy, made once
  fill(a->change(), 3);
  EXPECT_EQ(a->value(DType::bf16).to_vector<double>()[0], 3);
  fill(store.masters(), 5);
  store.changed();
  EXPECT_EQ(a->value(DType::bf16).to_vector<double>()[1], 5);

  backward(sum(mul(a->value(DType::bf16), a->value(DType::bf16))));  // the gradient is f32, in the arena
  EXPECT_EQ(store.gradients().slice(0, 0, 2).to_vector<double>(), std::vector<double>({10, 10}));
  EXPECT_NE(message_of<DTypeError>([&] { a->value(DType::f64); }).find("[a] parameters compute in their master type f32 or in bf16, not f64"),
            std::string::npos);
}

// Several conversations may share the weights of one model.
TEST(Parameter, ConvertsOnceForAllThreads) {
  const auto store = ParameterStore::make_unfilled();
  Parameter* whole = Scope(*store).parameter("whole", {512, 64}, Init::zeros(), true);
  Parameter* stack = Scope(*store).parameter("stack", {2, 256, 64}, Init::zeros(), true);
  whole->bind(full({512, 64}, 3, DType::bf16));
  stack->bind_slices({full({256, 64}, 4, DType::bf16), full({256, 64}, 5, DType::bf16)});
  std::vector<Tensor> seen(8), slices(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < seen.size(); ++i) {
    threads.emplace_back([&, i] {
      seen[i] = whole->value(DType::f32);
      slices[i] = stack->slice(int64_t(i % 2), DType::f32);
    });
  }
  for (std::thread& t : threads) { t.join(); }
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_TRUE(seen[i].same_as(seen[0]));
    EXPECT_TRUE(slices[i].same_as(slices[i % 2]));
    EXPECT_EQ(seen[i].to_vector<float>(), std::vector<float>(512 * 64, 3));
    EXPECT_EQ(slices[i].to_vector<float>(), std::vector<float>(256 * 64, float(4 + i % 2)));
  }
}

}  // namespace
}  // namespace pumice
