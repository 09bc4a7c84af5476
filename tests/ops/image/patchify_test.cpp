#include "pumice/ops/image/patchify.h"

#include "../../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

TEST(Patchify, DefaultScaleMapsBytesToMinusOneAndOneInPatchOrder) {
  std::vector<uint8_t> bytes;  // 2 x 4 pixels; the value is the position
  for (int i = 0; i < 24; ++i) { bytes.push_back(uint8_t(i)); }
  bytes[0] = 255;
  Tensor y = patchify(from_values<uint8_t>({1, 2, 4, 3}, bytes), 2, {}, DType::f64);
  ASSERT_EQ(y.shape(), (Shape{1, 2, 12}));
  std::vector<double> v = y.to_vector<double>();
  EXPECT_DOUBLE_EQ(v[0], 1);
  const int want[] = {1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17, /* second patch */ 6, 7, 8, 9, 10, 11, 18, 19, 20, 21, 22, 23};
  for (int i = 0; i < 23; ++i) { EXPECT_NEAR(v[i + 1], want[i] / 127.5 - 1, 1e-12) << i; }
}

TEST(Patchify, ErrorsNameShapeAndType) {
  auto call = [](Shape s, DType in, int p, DType out, PixelScale scale = {}) {
    return [=] { patchify(zeros(s, in), p, scale, out); };
  };
  EXPECT_EQ(message_of<DTypeError>(call({1, 4, 4, 3}, DType::f32, 2, DType::f32)),
            "[patchify] pixels must be u8, got f32 (1, 4, 4, 3)");
  EXPECT_EQ(message_of<DTypeError>(call({1, 4, 4, 3}, DType::u8, 2, DType::i32)),
            "[patchify] the result must be f32, bf16 or f64, got i32");
  EXPECT_EQ(message_of<ShapeError>(call({4, 4, 3}, DType::u8, 2, DType::f32)),
            "[patchify] pixels must be (B, H, W, 3), got (4, 4, 3)");
  EXPECT_EQ(message_of<ShapeError>(call({1, 4, 4, 4}, DType::u8, 2, DType::f32)),
            "[patchify] pixels must be (B, H, W, 3), got (1, 4, 4, 4)");
  EXPECT_EQ(message_of<ShapeError>(call({2, 32, 30, 3}, DType::u8, 16, DType::f32)),
            "[patchify] patches of 16 x 16 pixels must tile the images, got (2, 32, 30, 3): resize to a multiple of "
            "the patch size");
  EXPECT_EQ(message_of<ShapeError>(call({2, 32, 30, 3}, DType::u8, 0, DType::f32)),
            "[patchify] patches of 0 x 0 pixels must tile the images, got (2, 32, 30, 3): resize to a multiple of the "
            "patch size");
  EXPECT_EQ(message_of<UsageError>(call({1, 4, 4, 3}, DType::u8, 2, DType::f32, {{0, 0, 0}, {1, 0, 1}})),
            "[patchify] std must be positive, got 0 for channel 1");
}

}  // namespace
}  // namespace pumice
