// One op for an MLP gives the bits of linear, gelu and linear, values and gradients, on every path of the products below it.
#include <gtest/gtest.h>

#include <array>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/gelu.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/ops/elementwise/swiglu.h"
#include "pumice/ops/matmul/linear.h"
#include "pumice/ops/matmul/mlp.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"
#include "../message_of.h"

namespace pumice {
namespace {

Tensor random(const Shape& shape, uint32_t site, DType dtype) { return to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = 3, .site = site}), dtype); }

std::vector<std::vector<float>> results(int64_t rows, int64_t in, int64_t hidden, DType dtype, Gelu form, Device device, bool fused) {
  auto leaf = [&](const Shape& shape, uint32_t site, DType d) { return requires_grad(to_device(random(shape, site, d), device)); };
  Tensor x = leaf({rows, in}, 1, dtype), up = leaf({hidden, in}, 2, dtype), down = leaf({in + 3, hidden}, 3, dtype);
  Tensor b1 = leaf({hidden}, 4, DType::f32), b2 = leaf({in + 3}, 5, DType::f32), dy = to_device(random({rows, in + 3}, 6, dtype), device);
  Tensor residual = leaf({rows, in + 3}, 7, dtype);
  Tensor y = fused ? mlp(x, up, b1, down, b2, form, residual) : add(residual, linear(gelu(linear(x, up, b1), form), down, b2));
  backward({&y, 1}, {&dy, 1});
  std::vector<std::vector<float>> all;
  for (const Tensor& t : {y, grad(x), grad(up), grad(b1), grad(down), grad(b2), grad(residual)}) { all.push_back(t.to_vector<float>()); }
  return all;
}

std::vector<std::vector<float>> gated_results(int64_t rows, int64_t in, int64_t hidden, DType dtype, Device device, bool fused) {
  auto leaf = [&](const Shape& shape, uint32_t site) { return requires_grad(to_device(random(shape, site, dtype), device)); };
  Tensor input = leaf({rows, in}, 1), x = scale(input, 1);  // of its own type, as in a model: a leaf's two gradients are added in f32
  Tensor gate = leaf({hidden, in}, 2), up = leaf({hidden, in}, 3), down = leaf({in + 3, hidden}, 4), residual = leaf({rows, in + 3}, 5);
  Tensor dy = to_device(random({rows, in + 3}, 6, dtype), device);
  const auto parts = [&] {
    Tensor a = linear(x, gate, Tensor()), b = linear(x, up, Tensor());  // in this order: backward adds the one's gradient to the other's
    return add(residual, linear(swiglu(a, b), down, Tensor()));
  };
  Tensor y = fused ? swiglu_mlp(x, gate, up, down, residual) : parts();
  backward({&y, 1}, {&dy, 1});
  std::vector<std::vector<float>> all;
  for (const Tensor& t : {y, grad(input), grad(gate), grad(up), grad(down), grad(residual)}) { all.push_back(t.to_vector<float>()); }
  return all;
}

TEST(Mlp, HasTheBitsOfItsParts) {
  std::vector<Device> devices = {Device::cpu()};
  if (cuda_device::count() > 0) { devices.push_back(Device::cuda()); }
  for (Device device : devices) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (Gelu form : {Gelu::tanh, Gelu::erf, Gelu::quick}) {
        EXPECT_EQ(results(70, 24, 96, dtype, form, device, true), results(70, 24, 96, dtype, form, device, false)) << name(dtype) << " " << int(form);
      }
      EXPECT_EQ(results(3, 17, 33, dtype, Gelu::tanh, device, true), results(3, 17, 33, dtype, Gelu::tanh, device, false)) << "few rows";
      // products with gelu that are cut along depth on CUDA
      EXPECT_EQ(results(33, 1030, 70, dtype, Gelu::tanh, device, true), results(33, 1030, 70, dtype, Gelu::tanh, device, false)) << "deep";
    }
  }
  EXPECT_EQ(results(2500, 24, 40, DType::f32, Gelu::tanh, Device::cpu(), true), results(2500, 24, 40, DType::f32, Gelu::tanh, Device::cpu(), false));
}

TEST(SwigluMlp, HasTheBitsOfItsParts) {
  std::vector<Device> devices = {Device::cpu()};
  if (cuda_device::count() > 0) { devices.push_back(Device::cuda()); }
  for (Device device : devices) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (auto [rows, in, hidden] : {std::array<int64_t, 3>{70, 24, 96}, {3, 17, 33}, {33, 1030, 70}}) {
        EXPECT_EQ(gated_results(rows, in, hidden, dtype, device, true), gated_results(rows, in, hidden, dtype, device, false)) << name(dtype) << " " << rows;
      }
    }
  }
}

TEST(Mlp, WithoutAGraphGivesTheSame) {
  NoGrad no_grad;
  std::vector<Device> devices = {Device::cpu()};
  if (cuda_device::count() > 0) { devices.push_back(Device::cuda()); }
  for (Device device : devices) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      const auto weight = [&](const Shape& shape, uint32_t site) { return requires_grad(to_device(random(shape, site, dtype), device)); };
      const Tensor x = weight({9, 16}, 1), up = weight({40, 16}, 2), gate = weight({40, 16}, 3), down = weight({16, 40}, 4), none;
      EXPECT_EQ(mlp(x, up, none, down, none).to_vector<float>(), linear(gelu(linear(x, up, none)), down, none).to_vector<float>());
      EXPECT_EQ(swiglu_mlp(x, gate, up, down).to_vector<float>(), linear(swiglu(linear(x, gate, none), linear(x, up, none)), down, none).to_vector<float>());
    }
  }
}

TEST(Mlp, RefusesWhatDoesNotFit) {
  const Tensor x = random({2, 4}, 1, DType::f32), up = random({6, 4}, 2, DType::f32), down = random({5, 7}, 3, DType::f32);
  EXPECT_EQ(testing::message_of<ShapeError>([&] { mlp(x, up, Tensor(), down, Tensor()); }), "[mlp] down must be (out, in) = (..., 6), got (5, 7)");
  EXPECT_EQ(testing::message_of<ShapeError>([&] { mlp(x, up, random({3}, 4, DType::f32), random({5, 6}, 3, DType::f32), Tensor()); }),
            "[mlp] the bias of up must be (6), got (3)");
  EXPECT_EQ(testing::message_of<ShapeError>([&] { mlp(x, up, Tensor(), random({4, 6}, 3, DType::f32), Tensor(), Gelu::tanh, random({3, 4}, 4, DType::f32)); }),
            "[mlp] the residual must have the shape of y, (2, 4), got (3, 4)");
}

}  // namespace
}  // namespace pumice
