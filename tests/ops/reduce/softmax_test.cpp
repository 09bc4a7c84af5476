#include "pumice/ops/reduce/softmax.h"

#include <cmath>
#include <limits>

#include "../../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

TEST(Softmax, MaskedLogitsHaveProbabilityZero) {
  const double inf = std::numeric_limits<double>::infinity();
  std::vector<double> x(1500, -inf);  // the first piece of the row is masked as a whole
  x[1300] = std::log(3.0);
  x[1400] = 0;
  std::vector<double> y = softmax(to_dtype(from_values<double>({1500}, x), DType::f32)).to_vector<double>();
  EXPECT_NEAR(y[1300], 0.75, 1e-6);
  EXPECT_NEAR(y[1400], 0.25, 1e-6);
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[1499], 0);
}

TEST(Softmax, NanAndNothingButMaskedGiveNan) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (float y : softmax(from_values<float>({3}, {1, nan, 2})).to_vector<float>()) { EXPECT_TRUE(std::isnan(y)); }
  for (float y : softmax(from_values<float>({2}, {-inf, -inf})).to_vector<float>()) { EXPECT_TRUE(std::isnan(y)); }
}

TEST(Softmax, ErrorsNameShapeAndType) {
  EXPECT_EQ(message_of<DTypeError>([] { softmax(zeros({2, 3}, DType::i32)); }),
            "[softmax] x must be f32, bf16 or f64, got i32 (2, 3)");
  EXPECT_EQ(message_of<ShapeError>([] { softmax(zeros({})); }), "[softmax] x must be (..., C), got ()");
  EXPECT_EQ(message_of<ShapeError>([] { log_softmax(zeros({})); }), "[log_softmax] x must be (..., C), got ()");
}

}  // namespace
}  // namespace pumice
