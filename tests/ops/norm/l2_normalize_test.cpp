#include "pumice/ops/norm/l2_normalize.h"

#include "pumice/autograd/autograd.h"
#include "../../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

TEST(L2Normalize, ZeroRowStaysZeroAndItsGradientIsThatOfDivisionByEps) {
  Tensor x = requires_grad(zeros({1, 3}));
  Tensor y = l2_normalize(x, 0.5);
  EXPECT_EQ(y.to_vector<float>(), (std::vector<float>{0, 0, 0}));
  backward(std::vector{y}, std::vector{from_values<float>({1, 3}, {1, 2, 3})});
  EXPECT_EQ(grad(x).to_vector<float>(), (std::vector<float>{2, 4, 6}));
}

TEST(L2Normalize, ThreeFourFive) {
  std::vector<double> y = l2_normalize(from_values<double>({2, 2}, {3, 4, -6, 8}), 0).to_vector<double>();
  EXPECT_DOUBLE_EQ(y[0], 0.6);
  EXPECT_DOUBLE_EQ(y[1], 0.8);
  EXPECT_DOUBLE_EQ(y[2], -0.6);
  EXPECT_DOUBLE_EQ(y[3], 0.8);
}

TEST(L2Normalize, ErrorsNameShapeAndType) {
  EXPECT_EQ(message_of<DTypeError>([] { l2_normalize(zeros({2}, DType::u8)); }),
            "[l2_normalize] x must be f32, bf16 or f64, got u8 (2)");
  EXPECT_EQ(message_of<ShapeError>([] { l2_normalize(zeros({})); }), "[l2_normalize] x must be (..., C), got ()");
}

}  // namespace
}  // namespace pumice
