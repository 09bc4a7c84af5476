#include "pumice/tensor/dtype.h"

#include <cmath>
#include <limits>

#include "pumice/tensor/tensor.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

const float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

float from_bits(uint32_t bits) {
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(bf16(from_bits(0x3f800000)).bits, 0x3f80);  // 1 is exact
  EXPECT_EQ(bf16(from_bits(0x3f807fff)).bits, 0x3f80);  // below the tie
  EXPECT_EQ(bf16(from_bits(0x3f808000)).bits, 0x3f80);  // tie, even below
  EXPECT_EQ(bf16(from_bits(0x3f808001)).bits, 0x3f81);  // above the tie
  EXPECT_EQ(bf16(from_bits(0x3f818000)).bits, 0x3f82);  // tie, even above
  EXPECT_EQ(bf16(from_bits(0xbf818000)).bits, 0xbf82);
  EXPECT_EQ(bf16(from_bits(0x3fffffff)).bits, 0x4000);  // a carry into the exponent
  EXPECT_EQ(bf16(from_bits(0x00000001)).bits, 0x0000);  // subnormals
  EXPECT_EQ(bf16(from_bits(0x00018000)).bits, 0x0002);
  EXPECT_EQ(bf16(-0.0f).bits, 0x8000);
}

TEST(Bf16, OverflowInfinityAndNan) {
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7f80) << "rounds up to infinity";
  EXPECT_EQ(bf16(from_bits(0x7f7f7fff)).bits, 0x7f7f) << "the last that does not";
  EXPECT_EQ(bf16(kInf).bits, 0x7f80);
  EXPECT_EQ(bf16(-kInf).bits, 0xff80);
  EXPECT_TRUE(std::isnan(float(bf16(kNan))));
  EXPECT_TRUE(std::isnan(float(bf16(from_bits(0x7f800001))))) << "a NaN whose payload lies in the lower half";
  EXPECT_TRUE(std::isnan(float(bf16(from_bits(0xffffffff))))) << "a NaN that rounding would wrap to zero";
}

TEST(Bf16, EveryPatternSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    bf16 h = 0.0f;
    h.bits = uint16_t(bits);
    float f = h;
    if (std::isnan(f)) {
      ASSERT_TRUE(std::isnan(float(bf16(f)))) << bits;
    } else {
      ASSERT_EQ(bf16(f).bits, bits);
    }
  }
}

// The definition of binary16, from its fields.
double f16_value(uint32_t bits) {
  int exponent = int(bits >> 10 & 31), mantissa = int(bits & 1023);
  double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31) { magnitude = mantissa ? NAN : INFINITY; }
  return bits & 0x8000 ? -magnitude : magnitude;
}

TEST(F16, EveryPatternHasItsValueAndSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    float f = to_float(f16{uint16_t(bits)});
    if (std::isnan(f16_value(bits))) {
      ASSERT_TRUE(std::isnan(f)) << bits;
      ASSERT_TRUE(std::isnan(to_float(to_f16(f)))) << bits;
    } else {
      ASSERT_EQ(double(f), f16_value(bits)) << bits;
      ASSERT_EQ(std::signbit(f), (bits & 0x8000) != 0) << bits;
      ASSERT_EQ(to_f16(f).bits, bits);
    }
  }
}

TEST(F16, HalfwayBetweenNeighboursGoesToTheEvenOne) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {  // every finite positive pattern that has a finite successor
    float low = to_float(f16{uint16_t(bits)}), high = to_float(f16{uint16_t(bits + 1)}), middle = (low + high) / 2;
    ASSERT_EQ(to_f16(middle).bits, bits % 2 ? bits + 1 : bits);
    ASSERT_EQ(to_f16(-middle).bits, 0x8000 | (bits % 2 ? bits + 1 : bits));
    ASSERT_EQ(to_f16(std::nextafter(middle, low)).bits, bits);
    ASSERT_EQ(to_f16(std::nextafter(middle, high)).bits, bits + 1);
  }
}

TEST(F16, OverflowsToInfinityAndUnderflowsToZero) {
  EXPECT_EQ(to_f16(65504).bits, 0x7bff);
  EXPECT_EQ(to_f16(from_bits(0x477fefff)).bits, 0x7bff) << "just below 65520";
  EXPECT_EQ(to_f16(65520).bits, 0x7c00) << "the tie goes to the even side, infinity";
  EXPECT_EQ(to_f16(1e30f).bits, 0x7c00);
  EXPECT_EQ(to_f16(-kInf).bits, 0xfc00);
  EXPECT_EQ(to_f16(0x1p-25f).bits, 0) << "half the smallest subnormal";
  EXPECT_EQ(to_f16(from_bits(0x33000001)).bits, 1) << "just above it";
  EXPECT_EQ(to_f16(-1e-30f).bits, 0x8000);
  EXPECT_EQ(to_f16(from_bits(1)).bits, 0);
  EXPECT_TRUE(std::isnan(to_float(to_f16(from_bits(0x7f800001)))));
}

TEST(DType, NamesAndSizes) {
  const std::pair<DType, std::pair<const char*, int>> all[] = {
      {DType::f32, {"f32", 4}}, {DType::bf16, {"bf16", 2}}, {DType::f64, {"f64", 8}}, {DType::f16, {"f16", 2}},
      {DType::i32, {"i32", 4}}, {DType::i64, {"i64", 8}},   {DType::u8, {"u8", 1}},   {DType::boolean, {"bool", 1}}};
  for (auto& [dtype, want] : all) {
    EXPECT_STREQ(name(dtype), want.first);
    EXPECT_EQ(size_of(dtype), want.second);
  }
}

TEST(DType, DispatchRefusesWhatIsNotComputedWith) {
  EXPECT_EQ(message_of<DTypeError>([] { dispatch_float(DType::f16, []<class T>() {}); }),
            "[dispatch] a floating-point tensor of f32, bf16 or f64 is required, got f16");
}

}  // namespace
}  // namespace pumice
