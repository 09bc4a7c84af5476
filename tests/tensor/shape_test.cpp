#include "pumice/tensor/shape.h"

#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

TEST(Shape, HoldsUpToEightAxes) {
  Shape s = {2, 3, 4};
  EXPECT_EQ(s.rank(), 3);
  EXPECT_EQ(s.at(-1), 4);
  EXPECT_EQ(s.back(), 4);
  EXPECT_EQ(s.elements(), 24);
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_EQ((Shape{3, 0}).elements(), 0);
  EXPECT_EQ(concat_text(Shape{}, Shape{5}, Shape{2, 3}), "()(5)(2, 3)");
  EXPECT_NE((Shape{2}), (Shape{2, 1}));
  EXPECT_EQ(message_of<ShapeError>([] { Shape({1, 1, 1, 1, 1, 1, 1, 1, 1}); }), "[shape] a tensor has at most 8 axes, got 9");
  EXPECT_EQ(message_of<ShapeError>([&] { s.at(3); }), "[shape] axis must be in [-3, 3), got 3");
  EXPECT_EQ(message_of<ShapeError>([&] { s.at(-4); }), "[shape] axis must be in [-3, 3), got -4");
  Shape full = {1, 2, 3, 4, 5, 6, 7};
  full.push_back(8);
  EXPECT_EQ(full.back(), 8);
  EXPECT_EQ(message_of<ShapeError>([&] { full.push_back(9); }), "[shape] a tensor has at most 8 axes");
}

TEST(Shape, ContiguousStrides) {
  EXPECT_EQ(contiguous_strides({2, 3, 4}), (Shape{12, 4, 1}));
  EXPECT_EQ(contiguous_strides({}), Shape{});
}

TEST(Shape, BroadcastFollowsNumpy) {
  EXPECT_EQ(broadcast_shapes("add", {2, 3}, {3}), (Shape{2, 3}));
  EXPECT_EQ(broadcast_shapes("add", {}, {4, 1}), (Shape{4, 1}));
  EXPECT_EQ(broadcast_shapes("add", {5, 1, 3}, {4, 1}), (Shape{5, 4, 3}));
  EXPECT_EQ(broadcast_shapes("add", {1}, {0}), (Shape{0}));
  EXPECT_EQ(broadcast_shapes("add", {0, 3}, {1, 3}), (Shape{0, 3}));
}

TEST(Shape, BroadcastErrorsShowBothShapes) {
  EXPECT_EQ(message_of<ShapeError>([] { broadcast_shapes("mul", {2, 3}, {4, 3}); }),
            "[mul] shapes must broadcast: lengths equal or 1 on each axis, got (2, 3) and (4, 3), which differ on axis 0 (2 and 4)");
  EXPECT_EQ(message_of<ShapeError>([] { broadcast_shapes("sub", {7, 2, 3}, {2}); }),
            "[sub] shapes must broadcast: lengths equal or 1 on each axis, got (7, 2, 3) and (2), which differ on axis 2 (3 and 2)");
  EXPECT_EQ(message_of<ShapeError>([] { broadcast_shapes("sub", {0}, {2}); }),
            "[sub] shapes must broadcast: lengths equal or 1 on each axis, got (0) and (2), which differ on axis 0 (0 and 2)");
}

}  // namespace
}  // namespace pumice
