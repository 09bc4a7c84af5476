#include "pumice/ops/embedding/rotary.h"

#include <cmath>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/embedding/rotary_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(rotary_kernel, RotaryArgs);

namespace {

Tensor rotated(const Tensor& x, const Tensor& positions, const Tensor& frequencies, int sign, double scale) {
  const Tensor from = x.strides()[2] == 1 || x.dim(2) <= 1 ? x.detach() : packed(x);
  Tensor y = empty(x.shape(), x.dtype(), x.device());
  if (x.size()) { rotary_kernel(x.device(), {y, from, positions, frequencies, sign, scale}); }
  return y;
}

}  // namespace

Tensor rotary(const Tensor& x, const Tensor& positions_in, const Tensor& frequencies_in, double scale) {
  require_float("rotary", "x", x);
  require_dtype("rotary", "positions", positions_in, DType::i32);
  require_dtype("rotary", "frequencies", frequencies_in, DType::f32);
  REQUIRE(ShapeError, x.rank() == 3 && positions_in.shape() == Shape{x.dim(0)} && frequencies_in.rank() == 1 && 2 * frequencies_in.dim(0) <= x.dim(2),
          "[rotary] x (T, H, D), positions (T) and frequencies (R / 2) with R <= D are required, got ", x.shape(), ", ", positions_in.shape(), " and ",
          frequencies_in.shape());
  const Tensor positions = to_device(packed(positions_in), x.device()), frequencies = to_device(packed(frequencies_in), x.device());
  Tensor y = rotated(x, positions, frequencies, 1, scale);

  // a rotation's gradient is the rotation back
  return record("rotary", y, {x}, [positions, frequencies, scale](const Tensor& dy, std::span<GradSink> dx) {
    dx[0].put(rotated(dy, positions, frequencies, -1, scale));
  });
}

std::vector<float> rotary_frequencies(int64_t R, double theta) {
  REQUIRE(UsageError, R >= 0 && R % 2 == 0 && theta > 0, "[rotary] an even number of rotated elements and theta > 0 are required, got ", R, " and ", theta);
  std::vector<float> f;
  for (int64_t i = 0; i < R / 2; ++i) { f.push_back(float(1 / std::pow(theta, double(2 * i) / double(R)))); }
  return f;
}

}  // namespace pumice
