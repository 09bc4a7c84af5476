// Ops that add their gradient to what others have given the same input (GradSink::place) give the sum of both.
#include <gtest/gtest.h>

#include <cmath>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/ops/matmul/mlp.h"
#include "pumice/ops/norm/layer_norm.h"
#include "pumice/ops/norm/rms_norm.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

struct Inputs {
  Device device;
  DType dtype;
  Tensor operator()(const Shape& shape, uint32_t site) const {
    return to_device(to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = 5, .site = site}), dtype), device);
  }
};

// The gradient of x through op(x), through 2 x, and through both.
// `terms`: how large the numbers are that are rounded on the way.
template <class Op> void check(const char* name, const Inputs& random, const Shape& shape, const Op& op, double terms = 1) {
  const auto gradient = [&](bool first, bool second) {
    Tensor x = requires_grad(random(shape, 1)), h = scale(x, 1), y = op(h), twice = scale(h, 2);
    const Tensor outputs[] = {y, twice}, dy[] = {first ? random(y.shape(), 2) : Tensor(), second ? random(shape, 3) : Tensor()};
    backward(outputs, dy);
    return grad(x).to_vector<double>();
  };
  const std::vector<double> alone = gradient(true, false), other = gradient(false, true), both = gradient(true, true);
  const double rounding = random.dtype == DType::bf16 ? 0x1p-5 : random.dtype == DType::f32 ? 0x1p-20 : 0x1p-48;
  for (size_t i = 0; i < both.size(); ++i) {
    ASSERT_NEAR(both[i], alone[i] + other[i], rounding * (terms + std::abs(alone[i]) + std::abs(other[i]))) << name << " " << shape << " element " << i;
  }
}

TEST(GradientPlaces, HoldTheSumOfAllGradients) {
  std::vector<Device> devices = {Device::cpu()};
  if (cuda_device::count() > 0) { devices.push_back(Device::cuda()); }
  for (Device device : devices) {
    for (DType dtype : {DType::f32, DType::bf16, DType::f64}) {
      if (dtype == DType::f64 && device != Device::cpu()) { continue; }
      const Inputs random{device, dtype}, parameter{device, dtype == DType::f64 ? DType::f64 : DType::f32};
      for (int64_t rows : {3, 130}) {  // few rows have a product of their own
        const Tensor w = random({40, 24}, 4), gate = random({40, 24}, 5), down = random({24, 40}, 6), none;
        check("linear", random, {rows, 24}, [&](const Tensor& x) { return linear(x, w, none); });
        check("mlp", random, {rows, 24}, [&](const Tensor& x) { return mlp(x, w, none, down, none); });
        check("swiglu_mlp", random, {rows, 24}, [&](const Tensor& x) { return swiglu_mlp(x, gate, w, down); }, 4);
      }
      for (int64_t C : {16, 33, 1025, 8195}) {
        const Tensor w = parameter({C}, 7), b = parameter({C}, 8);
        check("layer_norm", random, {5, C}, [&](const Tensor& x) { return layer_norm(x, w, b); });
        check("rms_norm", random, {5, C}, [&](const Tensor& x) { return rms_norm(x, w); });
      }
    }
  }
}

}  // namespace
}  // namespace pumice
