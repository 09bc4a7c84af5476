#include "pumice/tensor/tensor.h"

#include <numeric>

#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

constexpr DType kAllTypes[] = {DType::f32, DType::bf16, DType::f64, DType::f16,
                             DType::i32, DType::i64,  DType::u8,  DType::boolean};

Tensor counting(const Shape& shape, DType dtype = DType::f32) {
  std::vector<double> v(shape.elements());
  std::iota(v.begin(), v.end(), 0);
  return to_dtype(from_values<double>(shape, v), dtype);
}

// The same values with the last axis strided by two inside a larger array of sevens.
Tensor strided(const Tensor& t) {
  Shape wide = t.shape();
  wide[t.rank() - 1] *= 2;
  Tensor big = full(wide, 7, t.dtype());
  Shape strides = big.strides();
  strides[t.rank() - 1] = 2;
  Tensor view = big.as_strided(t.shape(), strides, 0);
  copy_into(view, t);
  return view;
}

TEST(Tensor, CopiesShareAndUndefinedIsAbsent) {
  Tensor none;
  EXPECT_FALSE(none.defined());
  EXPECT_FALSE(bool(View(none)));
  Tensor x = zeros({2, 3}), y = x;
  y.data<float>()[5] = 4;
  EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0, 0, 0, 0, 0, 4}));
  EXPECT_TRUE(x.same_as(y));
  EXPECT_FALSE(x.same_as(none));
  EXPECT_EQ(x.bytes(), 24);
  EXPECT_EQ(zeros({}).rank(), 0);
  EXPECT_EQ(full({}, 2.5).item(), 2.5);
}

TEST(Tensor, ViewsAreMetadataOnly) {
  Tensor x = counting({2, 3, 4});
  EXPECT_EQ(x.slice(1, 1, 3).to_vector<int32_t>(),
            (std::vector<int32_t>{4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21, 22, 23}));
  EXPECT_EQ(x.slice(-1, 2, 2).size(), 0);
  EXPECT_FALSE(x.slice(1, 1, 3).contiguous());
  EXPECT_TRUE(x.slice(0, 1, 2).contiguous());
  EXPECT_EQ(x.slice(0, 1, 2).data<float>(), x.data<float>() + 12);

  const int order[] = {2, 0, 1};
  Tensor p = x.permute(order);
  EXPECT_EQ(p.shape(), (Shape{4, 2, 3}));
  EXPECT_EQ(p.strides(), (Shape{1, 12, 4}));
  EXPECT_EQ(p.slice(0, 1, 2).to_vector<int32_t>(), (std::vector<int32_t>{1, 5, 9, 13, 17, 21}));
  EXPECT_EQ(x.transpose(0, -1).shape(), (Shape{4, 3, 2}));
  EXPECT_EQ(x.transpose(0, 1).transpose(0, 1).to_vector<float>(), x.to_vector<float>());

  Tensor e = counting({3, 1}).expand({2, 3, 2});
  EXPECT_EQ(e.strides(), (Shape{0, 1, 0}));
  EXPECT_EQ(e.to_vector<int32_t>(), (std::vector<int32_t>{0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(x.as_strided({2, 2}, {12, 1}, 5).to_vector<int32_t>(), (std::vector<int32_t>{5, 6, 17, 18}));
}

TEST(Tensor, ReshapeInfersOneAxis) {
  Tensor x = counting({2, 6});
  EXPECT_EQ(x.reshape({3, -1}).shape(), (Shape{3, 4}));
  EXPECT_EQ(x.reshape({-1}).data<float>(), x.data<float>());
  EXPECT_EQ(zeros({0, 4}).reshape({-1, 2}).shape(), (Shape{0, 2}));
  EXPECT_EQ(zeros({1}).reshape({}).rank(), 0);
}

TEST(Tensor, ViewErrorsNameShapes) {
  Tensor x = counting({2, 6});
  const int repeated[] = {0, 0}, three[] = {0, 1, 2}, outside[] = {0, 2};
  EXPECT_EQ(message_of<ShapeError>([&] { x.reshape({5, -1}); }), "[reshape] (2, 6) has 12 elements, which (5, -1) cannot hold");
  EXPECT_EQ(message_of<ShapeError>([&] { x.reshape({-1, -1}); }), "[reshape] only one axis may be -1, got (-1, -1)");
  EXPECT_EQ(message_of<ShapeError>([&] { x.transpose(0, 1).reshape({12}); }),
            "[reshape] a contiguous tensor is required, got (6, 2) with strides (1, 6): use packed() first");
  EXPECT_EQ(message_of<ShapeError>([&] { x.slice(1, 2, 7); }),
            "[slice] 0 <= begin <= end <= 6 is required on axis 1 of (2, 6), got [2, 7)");
  EXPECT_EQ(message_of<ShapeError>([&] { x.slice(2, 0, 1); }), "[slice] axis must be in [-2, 2), got 2");
  EXPECT_EQ(message_of<ShapeError>([&] { x.permute(repeated); }), "[permute] each axis once is required, axis 0 is repeated");
  EXPECT_EQ(message_of<ShapeError>([&] { x.permute(three); }), "[permute] 2 axes are required for (2, 6), got 3");
  EXPECT_EQ(message_of<ShapeError>([&] { x.permute(outside); }), "[permute] axis must be in [-2, 2), got 2");
  EXPECT_EQ(message_of<ShapeError>([&] { x.expand({3, 2, 5}); }),
            "[expand] shapes must broadcast: lengths equal or 1 on each axis, got (2, 6) and (3, 2, 5), which differ on axis 2 (6 and 5)");
  EXPECT_EQ(message_of<ShapeError>([&] { x.expand({1, 6}); }), "[expand] (2, 6) cannot expand to (1, 6)");
  EXPECT_EQ(message_of<ShapeError>([&] { x.item(); }), "[item] a tensor of one element is required, got (2, 6)");
  EXPECT_EQ(message_of<DTypeError>([&] { x.data<int32_t>(); }), "[data] the tensor (2, 6) holds f32, not i32");
  EXPECT_EQ(message_of<ShapeError>([&] { from_values<float>({2, 2}, {1, 2, 3}); }),
            "[from_values] (2, 2) holds 4 elements, got 3");
  EXPECT_EQ(message_of<ShapeError>([&] { empty({2, -1}); }), "[empty] axis lengths must not be negative, got (2, -1)");
  EXPECT_EQ(message_of<ShapeError>([&] { empty({int64_t(1) << 40, int64_t(1) << 40}); }),
            "[empty] (1099511627776, 1099511627776) of f32 has more bytes than an int64 can count");
}

TEST(Tensor, CopyConvertsBetweenAllTypes) {
  for (DType from : kAllTypes) {
    for (DType to : kAllTypes) {
      const bool boolean = from == DType::boolean || to == DType::boolean;
      for (int layout = 0; layout < 4; ++layout) {
        Tensor src = counting({3, 5}, from), dst = full({3, 5}, 1, to);
        if (layout & 1) { src = strided(src); }
        if (layout & 2) { dst = strided(dst); }
        copy_into(dst, src);
        std::vector<double> got = dst.to_vector<double>();
        for (int i = 0; i < 15; ++i) {
          ASSERT_EQ(got[i], boolean ? i != 0 : i) << name(from) << " to " << name(to) << " layout " << layout;
        }
      }
    }
  }
}

TEST(Tensor, WritingAViewLeavesTheRestAlone) {
  Tensor big = full({4, 6}, 9);
  fill(big.slice(0, 1, 3).slice(1, 2, 4), 1);
  copy_into(big.transpose(0, 1).slice(0, 5, 6), counting({1, 4}));
  add_into(big.slice(1, 0, 1), full({4, 1}, 1));
  EXPECT_EQ(big.to_vector<int32_t>(),
            (std::vector<int32_t>{10, 9, 9, 9, 9, 0, 10, 9, 1, 1, 9, 1, 10, 9, 1, 1, 9, 2, 10, 9, 9, 9, 9, 3}));
}

TEST(Tensor, FillEveryType) {
  for (DType dtype : kAllTypes) {
    Tensor x = strided(zeros({2, 3}, dtype));
    fill(x, 3);
    EXPECT_EQ(x.to_vector<double>(), std::vector<double>(6, dtype == DType::boolean ? 1 : 3)) << name(dtype);
  }
}

TEST(Tensor, AddIntoAllFloatTypes) {
  const DType floats[] = {DType::f32, DType::bf16, DType::f64};
  for (DType to : floats) {
    for (DType from : floats) {
      for (int layout = 0; layout < 4; ++layout) {
        Tensor dst = full({3, 5}, 2, to), src = counting({3, 5}, from);
        if (layout & 1) { src = strided(src); }
        if (layout & 2) { dst = strided(dst); }
        add_into(dst, src);
        std::vector<double> got = dst.to_vector<double>();
        for (int i = 0; i < 15; ++i) { ASSERT_EQ(got[i], i + 2) << name(from) << " to " << name(to); }
      }
    }
  }
  Tensor sum = full({1}, 1, DType::f64);
  add_into(sum, full({1}, 1e-3, DType::bf16));
  EXPECT_EQ(sum.item(), 1 + double(float(bf16(1e-3f)))) << "added in f64, not in f32";
}

TEST(Tensor, LargeCopiesCrossBlocks) {
  Tensor x = counting({3, 70001});
  EXPECT_EQ(packed(x.transpose(0, 1)).transpose(0, 1).to_vector<float>(), x.to_vector<float>());
  EXPECT_EQ(to_dtype(to_dtype(x, DType::f64), DType::f32).to_vector<float>(), x.to_vector<float>());
}

TEST(Tensor, ZeroSizes) {
  Tensor x = zeros({0, 3});
  fill(x, 1);
  copy_into(x, zeros({0, 3}, DType::f16));
  add_into(x, zeros({0, 3}));
  EXPECT_TRUE(x.to_vector<float>().empty());
  EXPECT_TRUE(packed(x.transpose(0, 1)).contiguous());
}

TEST(Tensor, CopyErrorsNameBothShapes) {
  EXPECT_EQ(message_of<ShapeError>([] { copy_into(zeros({2, 3}), zeros({3, 2})); }),
            "[copy] equal shapes are required, got (2, 3) and (3, 2)");
  EXPECT_EQ(message_of<ShapeError>([] { add_into(zeros({2}), zeros({1})); }),
            "[add_into] equal shapes are required, got (2) and (1)");
  EXPECT_EQ(message_of<DTypeError>([] { add_into(zeros({2}, DType::i32), zeros({2}, DType::i32)); }),
            "[dispatch] a floating-point tensor of f32, bf16 or f64 is required, got i32");
}

TEST(Tensor, PackedAndToDtypeShareWhatNeedsNoCopy) {
  Tensor x = counting({2, 3});
  EXPECT_EQ(packed(x).data<float>(), x.data<float>());
  EXPECT_EQ(to_dtype(x, DType::f32).data<float>(), x.data<float>());
  Tensor t = packed(x.transpose(0, 1));
  EXPECT_TRUE(t.contiguous());
  EXPECT_EQ(t.to_vector<int32_t>(), (std::vector<int32_t>{0, 3, 1, 4, 2, 5}));
}

TEST(Tensor, ExternalMemoryIsKeptByItsOwnerAndNothingLeaks) {
  const int64_t before = Tensor::live_count();
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  {
    Tensor x = wrap_external(owner->data(), {2, 2}, DType::f32, owner);
    Tensor view = x.slice(0, 1, 2);
    x = Tensor();
    EXPECT_EQ(owner.use_count(), 2);
    EXPECT_EQ(view.to_vector<float>(), (std::vector<float>{3, 4}));
  }
  EXPECT_EQ(owner.use_count(), 1);
  EXPECT_EQ(Tensor::live_count(), before);
}

}  // namespace
}  // namespace pumice
