// Batches whose columns are split among blocks such that a split has several panels, too large for a numeric gradcheck: against the CPU's.
#include <gtest/gtest.h>

#include <cmath>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/loss/contrastive.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

struct Gradients { std::vector<double> image, text, temperature; };

Gradients gradients(int64_t B, int64_t C, bool sigmoid, Device device) {
  auto leaf = [&](const Shape& shape, uint32_t site) {
    return requires_grad(to_device(to_dtype(random_uniform_tensor(shape, -1, 1, {.seed = 1, .site = site}), DType::f32), device));
  };
  Tensor image = leaf({B, C}, 1), text = leaf({B, C}, 2), temperature = leaf({}, 3), bias = leaf({}, 4);
  backward(sigmoid ? sigmoid_contrastive_loss(image, text, temperature, bias).loss : contrastive_loss(image, text, temperature).loss);
  return {grad(image).to_vector<double>(), grad(text).to_vector<double>(), grad(temperature).to_vector<double>()};
}

void expect_close(const std::vector<double>& got, const std::vector<double>& want, const char* what) {
  ASSERT_EQ(got.size(), want.size());
  double difference = 0, length = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    length += want[i] * want[i];
  }
  EXPECT_LT(std::sqrt(difference / length), 1e-5) << what;
}

void expect_the_cpus(int64_t C, bool sigmoid) {
  const Gradients cuda = gradients(1100, C, sigmoid, Device::cuda()), cpu = gradients(1100, C, sigmoid, Device::cpu());
  expect_close(cuda.image, cpu.image, "image");
  expect_close(cuda.text, cpu.text, "text");
  expect_close(cuda.temperature, cpu.temperature, "temperature");
}

TEST(ContrastiveSplits, OfSeveralPanelsAddUp) {
  expect_the_cpus(8, false);  // columns of features by fours ...
  expect_the_cpus(6, true);   // ... and one by one
}

}  // namespace
}  // namespace pumice
