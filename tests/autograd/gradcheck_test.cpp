#include "pumice/autograd/gradcheck.h"

#include <gtest/gtest.h>

#include <cmath>

#include "../message_of.h"
#include "toy_ops.h"

namespace pumice {
namespace {

using namespace testing;

TEST(Gradcheck, AcceptsWhatIsRight) {
  GradcheckResult r = gradcheck([](const std::vector<Tensor>& in) { return std::vector<Tensor>{mul(mul(in[0], in[1]), in[0])}; },
                                {values({3}, {0.3, -1, 2}), values({3}, {1, 2, -0.5})});
  EXPECT_TRUE(r.ok) << r.message;
  EXPECT_LT(r.worst, 1e-8);
}

// A factor of 1.001 in one element of one input.
TEST(Gradcheck, FindsOneWrongElement) {
  auto almost = [](const std::vector<Tensor>& in) {
    const Tensor &a = in[0], &b = in[1];
    return std::vector<Tensor>{
        record("almost", mul(a.detach(), b.detach()), {a, b}, [a = a.detach(), b = b.detach()](const Tensor& dy, std::span<GradSink> dx) {
          dx[0].put(mul(dy, b));
          dx[1].put(mul(mul(dy, a), values({3}, {1, 1.001, 1})));
        })};
  };
  GradcheckResult r = gradcheck(almost, {values({3}, {0.3, -5, 2}), values({3}, {1, 2, -0.5})});
  EXPECT_FALSE(r.ok);
  EXPECT_NE(r.message.find("input 1 element 1"), std::string::npos) << r.message;
}

TEST(Gradcheck, FindsMissingAndNanGradients) {
  GradcheckResult r = gradcheck([](const std::vector<Tensor>& in) { return std::vector<Tensor>{mul(in[0], in[0]), in[1].detach()}; },
                                {values({1}, {2}), values({1}, {3})});
  EXPECT_FALSE(r.ok);
  EXPECT_NE(r.message.find("input 1 (1) got no gradient"), std::string::npos) << r.message;
  r = gradcheck([](const std::vector<Tensor>& in) {
    auto gradient = [](const Tensor&, std::span<GradSink> dx) { dx[0].put(values({1}, {NAN})); };
    return std::vector<Tensor>{record("nan", mul(in[0].detach(), in[0].detach()), {in[0]}, gradient)};
  }, {values({1}, {2})});
  EXPECT_FALSE(r.ok);
  EXPECT_TRUE(std::isinf(r.worst));
}

TEST(Gradcheck, WantsF64) {
  EXPECT_NE(message_of<DTypeError>([] { gradcheck([](const std::vector<Tensor>& in) { return in; }, {full({1}, 1)}); }).find("must be f64, got f32"),
            std::string::npos);
}

}  // namespace
}  // namespace pumice
