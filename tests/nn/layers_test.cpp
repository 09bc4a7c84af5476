#include "pumice/nn/layers.h"

#include <gtest/gtest.h>

#include <cmath>

#include "pumice/autograd/gradcheck.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/reduce/reduce.h"
#include "pumice/tensor/rng.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;
using Values = std::vector<double>;

Tensor random(const Shape& shape, uint32_t site) { return to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = 11, .site = site}), DType::f64); }

TEST(Layers, LinearNamesAndShapes) {
  ParameterStore store(1, DType::f64);
  Linear head(Scope(store) / "head", 5, 3), plain(Scope(store) / "plain", 5, 3, Init::ones(), false);
  store.pack();
  EXPECT_EQ(store.find("head.weight")->shape(), Shape({3, 5}));
  EXPECT_EQ(store.find("head.bias")->shape(), Shape({3}));
  EXPECT_TRUE(store.find("head.weight")->decay());
  EXPECT_FALSE(store.find("head.bias")->decay());
  EXPECT_EQ(store.find("plain.bias"), nullptr);
  EXPECT_EQ(head(random({2, 7, 5}, 1)).shape(), Shape({2, 7, 3}));
  EXPECT_EQ(plain(full({1, 5}, 2, DType::f64)).to_vector<double>(), Values({10, 10, 10}));
}

TEST(Layers, LayerNormNormalises) {
  ParameterStore store(1, DType::f64);
  LayerNorm norm(Scope(store) / "norm", 4);
  store.pack();
  Values y = norm(from_values<double>({1, 4}, Values{1, 2, 3, 4})).to_vector<double>();
  const double s = std::sqrt(1.25 + 1e-6);
  EXPECT_NEAR(y[0], -1.5 / s, 1e-12);
  EXPECT_NEAR(y[3], 1.5 / s, 1e-12);
  EXPECT_FALSE(store.find("norm.weight")->decay());
}

TEST(Layers, EmbeddingLooksUpAndSums) {
  ParameterStore store(1, DType::f64);
  Embedding words(Scope(store) / "words", 4, 2, Init::normal(1));
  store.pack();
  Values table = words.table->master().to_vector<double>();
  Tensor y = words(from_values<int32_t>({3}, std::vector<int32_t>{2, 0, 2}), DType::f64);
  EXPECT_EQ(y.to_vector<double>(), Values({table[4], table[5], table[0], table[1], table[4], table[5]}));
  backward(sum(y));
  EXPECT_EQ(store.gradients().to_vector<double>(), Values({1, 1, 0, 0, 2, 2, 0, 0}));
}

// Packed sequences must not see each other: changing one leaves the other's result as it is, to the bit.
TEST(Layers, AttentionStaysWithinItsSequence) {
  ParameterStore store(1, DType::f64);
  SelfAttention attention(Scope(store) / "attention", 8, 2);
  store.pack();
  Tensor sequences = from_values<int32_t>({3}, std::vector<int32_t>{0, 3, 7}), x = random({7, 8}, 1);
  Values before = attention(x, sequences).to_vector<double>();
  fill(x.slice(0, 3, 7), 0.5);
  Values after = attention(x, sequences).to_vector<double>();
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + 24, after.begin()));
  EXPECT_FALSE(std::equal(before.begin() + 24, before.end(), after.begin() + 24));
  // alone, the first sequence gives the same numbers
  Values alone = attention(x.slice(0, 0, 3), from_values<int32_t>({2}, std::vector<int32_t>{0, 3})).to_vector<double>();
  for (size_t i = 0; i < alone.size(); ++i) { EXPECT_NEAR(alone[i], before[i], 1e-12); }

  ParameterStore other(1);
  EXPECT_NE(message_of<ShapeError>([&] { SelfAttention(Scope(other) / "a", 8, 3); }).find("[a] width must be a multiple of heads, got 8 and 3"),
            std::string::npos);
}

// Every layer, the gradient with respect to its input and to each of its parameters.
template <class Layer> void check_gradients(ParameterStore& store, const Layer& layer, const Tensor& x) {
  store.pack();
  for (const auto& p : store.all()) {  // away from zeros and ones, where a missing factor would not show
    add_into(p->change(), mul(random(p->shape(), site_of(p->name().c_str())), full({}, 0.1, DType::f64)));
  }
  GradcheckResult r = gradcheck([&](const std::vector<Tensor>& in) { return std::vector<Tensor>{layer(in[0])}; }, {x});
  EXPECT_TRUE(r.ok) << r.message;

  Tensor cotangent = random(layer(x).shape(), 99);
  store.zero_gradients();
  backward(sum(mul(layer(x), cotangent)));
  NoGrad no_grad;
  for (const auto& p : store.all()) {
    double* w = p->change().template data<double>();
    const double* g = store.gradients().data<double>() + p->arena_offset();
    for (int64_t i = 0; i < p->size(); i += std::max<int64_t>(1, p->size() / 16)) {
      const double keep = w[i], eps = 1e-5;
      auto loss = [&](double value) {
        w[i] = value;
        return sum(mul(layer(x), cotangent)).item();
      };
      const double numeric = (loss(keep + eps) - loss(keep - eps)) / (2 * eps);
      w[i] = keep;
      EXPECT_NEAR(g[i], numeric, 1e-6 * std::max(1.0, std::abs(numeric))) << p->name() << " element " << i;
    }
  }
}

TEST(Layers, Gradients) {
  Tensor x = random({6, 8}, 3);
  {
    ParameterStore store(1, DType::f64);
    check_gradients(store, Linear(Scope(store) / "linear", 8, 5), x);
  }
  {
    ParameterStore store(1, DType::f64);
    check_gradients(store, LayerNorm(Scope(store) / "norm", 8), x);
  }
  {
    ParameterStore store(1, DType::f64);
    check_gradients(store, Mlp(Scope(store) / "mlp", 8, 12), x);
  }
  {
    ParameterStore store(1, DType::f64);
    SelfAttention attention(Scope(store) / "attention", 8, 2);
    Tensor sequences = from_values<int32_t>({4}, std::vector<int32_t>{0, 1, 4, 6});
    check_gradients(store, [&](const Tensor& t) { return attention(t, sequences); }, x);
  }
}

}  // namespace
}  // namespace pumice
