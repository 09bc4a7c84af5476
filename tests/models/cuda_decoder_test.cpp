// A language model on the CUDA device, a card or the SIMT emulator, beside the same on the CPU.
#include <cmath>
#include <gtest/gtest.h>

#include "pumice/autograd/autograd.h"
#include "pumice/models/decoder.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

class DecoderOnCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda_device::count()) { GTEST_SKIP() << cuda_device::describe(); }
  }
};

// Mistral's parts: grouped heads, a window shorter than the sequences, rms_norm, swiglu.
DecoderConfig mistral_like() {
  return {.family = "mistral", .vocabulary = 50, .width = 24, .layers = 2, .hidden = 40, .heads = 4, .kv_heads = 2, .head_width = 8, .rotary = 8,
          .window = 5, .window_from = 1};
}
// Phi's: one norm for both branches, part of a head rotated, biases; and a mixture beside a dense MLP in the second layer.
DecoderConfig sparse_phi_like() {
  DecoderConfig c{.family = "phi", .vocabulary = 50, .width = 24, .layers = 2, .hidden = 40, .heads = 3, .kv_heads = 3, .head_width = 8,
                  .norm = NormKind::layer, .mlp = MlpKind::gelu, .parallel = true, .rotary = 4, .qkv_bias = true, .out_bias = true, .mlp_bias = true,
                  .head_bias = true};
  c.moe_layers = {1};
  c.experts = {4};
  c.residual_moe = true;
  return c;
}

const std::vector<int32_t> kIds = {7, 3, 49, 0, 11, 12, 7, 30, 2, 2, 19, 44, 5, 6, 1, 8, 9};
Tensor row_of(const std::vector<int32_t>& values) { return from_values<int32_t>({int64_t(values.size())}, values); }

struct Gradients {
  double loss;
  std::vector<std::vector<double>> of;  // parameter by parameter
};
Gradients gradients_on(Device device, const DecoderConfig& config, DType dtype) {
  Decoder model(config, 11, DType::f32, device);
  RandomScope scope({.seed = 3, .step = 1});
  const Tensor sequences = row_of({0, 12, 17});
  DecoderOutput out = model.forward({.ids = row_of(kIds), .sequences = sequences}, {.dtype = dtype, .training = true});
  Tensor loss = model.loss(out.hidden, row_of(kIds), sequences);
  if (out.aux.defined()) { loss = add(loss, out.aux); }
  backward(loss);
  Gradients g{.loss = loss.to_vector<double>()[0]};
  for (const auto& p : model.parameters().all()) { g.of.push_back(p->leaf().grad.to_vector<double>()); }
  return g;
}
// |a - b| / |b| over everything.
double distance(const std::vector<std::vector<double>>& a, const std::vector<std::vector<double>>& b) {
  double difference = 0, length = 0;
  for (size_t k = 0; k < b.size(); ++k) {
    EXPECT_EQ(a[k].size(), b[k].size());
    for (size_t i = 0; i < b[k].size(); ++i) {
      difference += (a[k][i] - b[k][i]) * (a[k][i] - b[k][i]);
      length += b[k][i] * b[k][i];
    }
  }
  return std::sqrt(difference / length);
}

TEST_F(DecoderOnCuda, LossAndGradientsAreThoseOfTheCpu) {
  for (const DecoderConfig& config : {mistral_like(), sparse_phi_like()}) {
    const Gradients want = gradients_on(Device::cpu(), config, DType::f32), f32 = gradients_on(Device::cuda(), config, DType::f32);
    EXPECT_NEAR(f32.loss, want.loss, 2e-6 * want.loss) << config.family;
    EXPECT_LT(distance(f32.of, want.of), 5e-6) << config.family;
    EXPECT_LT(distance(gradients_on(Device::cuda(), config, DType::bf16).of, want.of), 0.05) << config.family;
  }
}

TEST_F(DecoderOnCuda, ACacheContinuesWhatOnePassComputes) {
  const DecoderConfig config = mistral_like();
  NoGrad no_grad;
  Decoder model(config, 11, DType::f32, Device::cuda()), on_cpu(config, 11);
  const int32_t T = int32_t(kIds.size());
  const Tensor want = on_cpu.logits(on_cpu.forward({.ids = row_of(kIds), .sequences = row_of({0, T})}, {}).hidden);
  KvCache cache(config, 1, DType::f32, Device::cuda());
  std::vector<float> got;
  for (int32_t begin = 0, end = 9; begin < T; begin = end++) {  // nine tokens, then one by one
    const Tensor ids = row_of({kIds.begin() + begin, kIds.begin() + end}), sequences = row_of({0, end - begin});
    const std::vector<float> logits = model.logits(model.forward({.ids = ids, .sequences = sequences}, {.cache = &cache}).hidden).to_vector<float>();
    got.insert(got.end(), logits.begin(), logits.end());
  }
  const std::vector<float> all = want.to_vector<float>();
  ASSERT_EQ(got.size(), all.size());
  for (size_t i = 0; i < all.size(); ++i) { ASSERT_NEAR(got[i], all[i], 1e-5) << i; }
}

}  // namespace
}  // namespace pumice
