// Offsets that live on the device are not read by the host: the kernels of grouped_linear must refuse wrong ones.
#include "../../message_of.h"
#include "pumice/moe/grouped_linear.h"
#include "pumice/tensor/cuda_device.h"

namespace pumice {
namespace {

using testing::message_of;

Tensor on_device(const Shape& shape) { return zeros(shape, DType::f32, Device::cuda()); }

template <class ErrorType> std::string message_for(const std::vector<int32_t>& offsets, Device device) {
  Tensor o = to_device(from_values<int32_t>({int64_t(offsets.size())}, offsets), device);
  return message_of<ErrorType>([&] {
    grouped_linear(on_device({5, 4}), on_device({3, 2, 4}), {}, o);
    cuda_device::synchronize();
  });
}

TEST(GroupedLinearOffsets, OnTheDeviceEndTheKernel) {
  for (const std::vector<int32_t>& offsets :
       std::vector<std::vector<int32_t>>{{0, 3, 2, 5}, {0, 2, 3, 6}, {1, 2, 3, 5}, {0, -1, 3, 5}}) {
    EXPECT_NE(message_for<KernelError>(offsets, Device::cuda()).find("multiply_rows"), std::string::npos) << offsets[1] << " to " << offsets[3];
  }
}

// What the host takes for the most rows that there can be.
TEST(GroupedLinearOffsets, OnTheDeviceMayLeaveRowsToNoExpert) {
  Tensor o = to_device(from_values<int32_t>({4}, std::vector<int32_t>{0, 1, 1, 3}), Device::cuda());
  Tensor bias = to_device(from_values<float>({3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6}), Device::cuda());
  EXPECT_EQ(grouped_linear(on_device({5, 4}), on_device({3, 2, 4}), bias, o).to_vector<float>(), (std::vector<float>{1, 2, 5, 6, 5, 6, 0, 0, 0, 0}));
}

TEST(GroupedLinearOffsets, OnTheCpuAreRefusedBeforeAnythingRuns) {
  const std::string message = message_for<ShapeError>({0, 2, 3, 4}, Device::cpu());
  EXPECT_NE(message.find("[grouped_linear] offsets must rise from 0 to the 5 rows of x, got 0 to 4"), std::string::npos);
}

TEST(GroupedLinearOffsets, OnTheCpuServeRowsOnTheDevice) {
  Tensor o = from_values<int32_t>({4}, std::vector<int32_t>{0, 2, 2, 5});
  Tensor bias = to_device(from_values<float>({3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6}), Device::cuda());
  EXPECT_EQ(grouped_linear(on_device({5, 4}), on_device({3, 2, 4}), bias, o).to_vector<float>(), (std::vector<float>{1, 2, 1, 2, 5, 6, 5, 6, 5, 6}));
}

}  // namespace
}  // namespace pumice
