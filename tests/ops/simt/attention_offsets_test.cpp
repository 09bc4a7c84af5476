// Offsets that live on the device are not read by the host: the kernels of attention must refuse wrong ones, in every form.
#include "../../message_of.h"
#include "pumice/autograd/autograd.h"
#include "pumice/ops/attention/attention.h"
#include "pumice/tensor/cuda_device.h"

namespace pumice {
namespace {

using testing::message_of;

Tensor offsets_of(const std::vector<int32_t>& offsets, Device device) {
  return to_device(from_values<int32_t>({int64_t(offsets.size())}, offsets), device);
}

template <class ErrorType> std::string self_message(const std::vector<int32_t>& offsets, DType dtype, Device device) {
  Tensor x = zeros({5, 1, 8}, dtype, Device::cuda());
  return message_of<ErrorType>([&] {
    attention(x, x, x, offsets_of(offsets, device));
    cuda_device::synchronize();
  });
}

TEST(AttentionOffsets, OnTheDeviceEndTheKernel) {
  for (DType dtype : {DType::f32, DType::bf16}) {
    for (const std::vector<int32_t>& offsets : std::vector<std::vector<int32_t>>{{0, 3, 2, 5}, {0, 2, 3, 4}, {0, 2, 3, 6}, {1, 2, 3, 5}}) {
      EXPECT_NE(self_message<KernelError>(offsets, dtype, Device::cuda()).find("forward"), std::string::npos) << name(dtype) << " " << offsets[1];
    }
  }
}

TEST(AttentionOffsets, AQueryWithoutKeysEndsTheKernel) {
  Tensor q = zeros({3, 1, 8}, DType::bf16, Device::cuda()), k = zeros({2, 1, 8}, DType::bf16, Device::cuda());
  auto run = [&](const std::vector<int32_t>& keys, bool causal) {
    return message_of<KernelError>([&] {
      cross_attention(q, k, k, offsets_of({0, 1, 3}, Device::cuda()), offsets_of(keys, Device::cuda()), {.causal = causal});
      cuda_device::synchronize();
    });
  };
  EXPECT_NE(run({0, 2, 2}, false).find("forward"), std::string::npos);
  EXPECT_NE(run({0, 1, 2}, true).find("forward"), std::string::npos);  // two queries, one key
}

TEST(AttentionOffsets, OnTheCpuAreRefusedBeforeAnythingRuns) {
  EXPECT_NE(self_message<ShapeError>({0, 2, 3, 4}, DType::f32, Device::cpu()).find("offsets must run from 0 to T = 5, got 0 to 4"),
            std::string::npos);
}

TEST(AttentionOffsets, OnTheCpuServeRowsOnTheDevice) {
  Tensor x = full({5, 1, 8}, 2, DType::f32, Device::cuda());
  EXPECT_EQ(attention(x, x, x, offsets_of({0, 2, 5}, Device::cpu())).to_vector<float>(), std::vector<float>(40, 2));
}

TEST(AttentionOffsets, KeysThatNoHeadAsksForGetZeros) {
  Tensor q = zeros({3, 0, 8}, DType::f32, Device::cuda()), k = requires_grad(full({3, 2, 8}, 1, DType::f32, Device::cuda()));
  Tensor v = requires_grad(full({3, 2, 8}, 1, DType::f32, Device::cuda()));
  const std::vector<Tensor> out = {attention(q, k, v, offsets_of({0, 3}, Device::cpu()))}, dout = {zeros({3, 0, 8}, DType::f32, Device::cuda())};
  backward(out, dout);
  EXPECT_EQ(grad(k).to_vector<float>(), std::vector<float>(48, 0));
  EXPECT_EQ(grad(v).to_vector<float>(), std::vector<float>(48, 0));
}

TEST(AttentionOffsets, HeadsTooWideForTheDeviceAreRefused) {
  Tensor x = zeros({2, 1, 257}, DType::f32, Device::cuda());
  const std::string message = message_of<ShapeError>([&] { attention(x, x, x, offsets_of({0, 2}, Device::cpu())); });
  EXPECT_NE(message.find("[attention] heads of at most 256 elements are computed on a CUDA device, got 257"), std::string::npos) << message;
}

}  // namespace
}  // namespace pumice
