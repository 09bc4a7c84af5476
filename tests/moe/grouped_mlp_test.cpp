// One op for the MLPs of all experts gives the bits of its parts, values and gradients.
#include <gtest/gtest.h>

#include "pumice/autograd/autograd.h"
#include "pumice/moe/grouped_linear.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/ops/elementwise/swiglu.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"
#include "../message_of.h"

namespace pumice {
namespace {

Tensor random(const Shape& shape, uint32_t site, DType dtype) { return to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = 3, .site = site}), dtype); }

std::vector<std::vector<float>> results(const std::vector<int32_t>& begin, DType dtype, Device device, bool fused) {
  const int64_t E = int64_t(begin.size()) - 1, R = begin.back(), in = 24, hidden = 40, out = 16;
  auto leaf = [&](const Shape& shape, uint32_t site, DType d) { return requires_grad(to_device(random(shape, site, d), device)); };
  Tensor x = leaf({R, in}, 1, dtype), up = leaf({E, hidden, in}, 2, dtype), down = leaf({E, out, hidden}, 3, dtype);
  Tensor b1 = leaf({E, hidden}, 4, DType::f32), b2 = leaf({E, out}, 5, DType::f32), dy = to_device(random({R, out}, 6, dtype), device);
  Tensor offsets = to_device(from_values<int32_t>({E + 1}, begin), device);
  Tensor y = fused ? grouped_mlp(x, up, b1, down, b2, offsets) : grouped_linear(gelu(grouped_linear(x, up, b1, offsets)), down, b2, offsets);
  backward({&y, 1}, {&dy, 1});
  std::vector<std::vector<float>> all;
  for (const Tensor& t : {y, grad(x), grad(up), grad(b1), grad(down), grad(b2)}) { all.push_back(t.to_vector<float>()); }
  return all;
}

std::vector<std::vector<float>> gated_results(const std::vector<int32_t>& begin, DType dtype, Device device, bool fused) {
  const int64_t E = int64_t(begin.size()) - 1, R = begin.back(), in = 24, hidden = 40, out = 16;
  auto leaf = [&](const Shape& shape, uint32_t site) { return requires_grad(to_device(random(shape, site, dtype), device)); };
  Tensor input = leaf({R, in}, 1), x = scale(input, 1);  // of its own type, as in a model: a leaf's two gradients are added in f32
  Tensor gate = leaf({E, hidden, in}, 2), up = leaf({E, hidden, in}, 3), down = leaf({E, out, hidden}, 4);
  Tensor dy = to_device(random({R, out}, 6, dtype), device), offsets = to_device(from_values<int32_t>({E + 1}, begin), device);
  const auto part = [&](const Tensor& t, const Tensor& w) { return grouped_linear(t, w, Tensor(), offsets); };
  Tensor y = fused ? grouped_swiglu_mlp(x, gate, up, down, offsets) : part(swiglu(part(x, gate), part(x, up)), down);
  backward({&y, 1}, {&dy, 1});
  std::vector<std::vector<float>> all;
  for (const Tensor& t : {y, grad(input), grad(gate), grad(up), grad(down)}) { all.push_back(t.to_vector<float>()); }
  return all;
}

TEST(GroupedMlp, HasTheBitsOfItsParts) {
  std::vector<Device> devices = {Device::cpu()};
  if (cuda_device::count() > 0) { devices.push_back(Device::cuda()); }
  for (Device device : devices) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      for (const auto& offsets : std::vector<std::vector<int32_t>>{{0, 3, 3, 70, 75}, {0, 1}, {0, 0, 140, 300}}) {
        EXPECT_EQ(results(offsets, dtype, device, true), results(offsets, dtype, device, false)) << name(dtype) << " " << offsets.back();
        EXPECT_EQ(gated_results(offsets, dtype, device, true), gated_results(offsets, dtype, device, false)) << "gated " << name(dtype) << " " << offsets.back();
      }
    }
  }
}

TEST(GroupedMlp, WithoutAGraphGivesTheSame) {
  NoGrad no_grad;
  std::vector<Device> devices = {Device::cpu()};
  if (cuda_device::count() > 0) { devices.push_back(Device::cuda()); }
  for (Device device : devices) {
    const auto weight = [&](const Shape& shape, uint32_t site) { return requires_grad(to_device(random(shape, site, DType::bf16), device)); };
    const Tensor x = weight({9, 16}, 1), up = weight({2, 40, 16}, 2), gate = weight({2, 40, 16}, 3), down = weight({2, 16, 40}, 4), none;
    const Tensor offsets = to_device(from_values<int32_t>({3}, {0, 4, 9}), device);
    const auto part = [&](const Tensor& t, const Tensor& w) { return grouped_linear(t, w, none, offsets); };
    EXPECT_EQ(grouped_mlp(x, up, none, down, none, offsets).to_vector<float>(), part(gelu(part(x, up)), down).to_vector<float>());
    EXPECT_EQ(grouped_swiglu_mlp(x, gate, up, down, offsets).to_vector<float>(), part(swiglu(part(x, gate), part(x, up)), down).to_vector<float>());
  }
}

TEST(GroupedMlp, RefusesWhatDoesNotFit) {
  const Tensor x = random({2, 4}, 1, DType::f32), up = random({3, 6, 4}, 2, DType::f32), offsets = from_values<int32_t>({4}, {0, 1, 1, 2});
  EXPECT_EQ(testing::message_of<ShapeError>([&] { grouped_mlp(x, up, Tensor(), random({2, 4, 6}, 3, DType::f32), Tensor(), offsets); }),
            "[grouped_mlp] up and down must have as many experts, got 3 and 2");
}

}  // namespace
}  // namespace pumice
