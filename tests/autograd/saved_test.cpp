#include <gtest/gtest.h>

#include "pumice/autograd/saved.h"
#include "toy_ops.h"

namespace pumice {
namespace {

using namespace testing;

// 2 x, remade by a recipe that counts its runs.
Tensor twice(const Tensor& x, int* runs) {
  Tensor two = values(x.shape(), std::vector<double>(x.size(), 2)), y = mul(x, two);
  return remakeable(y, [x = x.detach(), two, runs] {
    *runs += 1;
    return mul(x, two);
  });
}

TEST(Saved, KeepsWhatHasNoRecipe) {
  Tensor x = requires_grad(values({2}, {1, 2}));
  Saved saved(x);
  EXPECT_FALSE(saved.is_remade());
  EXPECT_TRUE(saved.get().same_as(x));
  EXPECT_FALSE(needs_grad(saved.get()));
}

TEST(Saved, ARecipeNeedsAGraph) {
  int runs = 0;
  Tensor y = twice(values({2}, {1, 2}), &runs);
  EXPECT_FALSE(Saved(y).is_remade()) << "nothing will run backward: the recipe would only hold x";
}

TEST(Saved, IsMadeOnceForAllWhoSavedItAndLetGoByTheLast) {
  int runs = 0;
  Tensor y = twice(requires_grad(values({2}, {1, 2})), &runs);
  Saved a(y), b(y), c(y), never(y);
  y = Tensor();
  const int64_t before = Tensor::live_count();
  EXPECT_EQ(a.get().to_vector<double>(), (std::vector<double>{2, 4}));
  EXPECT_EQ(b.get().to_vector<double>(), (std::vector<double>{2, 4}));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(Tensor::live_count(), before + 1) << "c is to have it";
  never = Saved();
  EXPECT_EQ(c.get().to_vector<double>(), (std::vector<double>{2, 4}));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(Tensor::live_count(), before);
  EXPECT_EQ(a.get().to_vector<double>(), (std::vector<double>{2, 4})) << "a second time makes it again";
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(Tensor::live_count(), before);
}

}  // namespace
}  // namespace pumice
