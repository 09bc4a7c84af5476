#include "pumice/tensor/kernel.h"

#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/tensor.h"
#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;

struct SetArgs { int* value; };
void set_to_one(const SetArgs& a) { *a.value = 1; }
void set_to_two(const SetArgs& a) { *a.value = 2; }

TEST(Kernel, MissingOnADeviceIsADeviceErrorNamingBoth) {
  Kernel<SetArgs> k{"set_value", &set_to_one, nullptr, nullptr, nullptr};
  int value = 0;
  EXPECT_EQ(message_of<DeviceError>([&] { k(Device::cuda(1), {&value}); }),
            "[set_value] there is no kernel for cuda:1 in this build; move the inputs to cpu");
  EXPECT_EQ(value, 0);
}

TEST(Kernel, LevelsThatWereNotBuiltFallBackToPortable) {
  Kernel<SetArgs> k{"set_value", &set_to_one, nullptr, nullptr, nullptr};
  int value = 0;
  k(Device::cpu(), {&value});
  EXPECT_EQ(value, 1);
}

TEST(Kernel, ASwappedFunctionIsTheOneThatRuns) {
  Kernel<SetArgs> k{"set_value", &set_to_one, nullptr, nullptr, nullptr};
  k.portable = &set_to_two;
  int value = 0;
  k(Device::cpu(), {&value});
  EXPECT_EQ(value, 2);
}

TEST(Kernel, TensorsOfADeviceThatIsNotThereAreRefused) {
  const std::string message = message_of<DeviceError>([] { empty({2}, DType::f32, Device::cuda(100)); });
  EXPECT_NE(message.find("cuda:100"), std::string::npos) << message;
  if (!cuda_device::built()) { EXPECT_EQ(message, "[device] this build has no cuda:100; use cpu, or build with -DPUMICE_CUDA=on"); }
}

}  // namespace
}  // namespace pumice
