// Copies beside the kernels, and recorded work. On a card or in the SIMT emulator.
#include "pumice/tensor/upload.h"

#include <gtest/gtest.h>

#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"
#include "../message_of.h"

namespace pumice {
namespace {

using cuda_device::Stream;
using testing::message_of;

class OnDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda_device::count()) { GTEST_SKIP() << cuda_device::describe(); }
  }
};
using UploadTest = OnDevice;
using GraphTest = OnDevice;
using StepMemoryTest = OnDevice;
using CountersTest = OnDevice;

Tensor ints(std::vector<int32_t> values) { return from_values<int32_t>({int64_t(values.size())}, values); }

TEST_F(UploadTest, TensorsArriveAtOneAddressAndWithoutWaiting) {
  Upload upload(Device::cuda());
  Tensor a = ints({1, 2, 3}), b = full({40, 40}, 0.5);
  upload.start({a, b});
  upload.arrive();
  const void *at = to_device(a, Device::cuda()).raw(), *there = to_device(b, Device::cuda()).raw();
  EXPECT_EQ(to_device(to_device(a, Device::cuda()), Device::cpu()).to_vector<int32_t>(), (std::vector<int32_t>{1, 2, 3}));
  Tensor c = ints({4, 5, 6}), d = full({40, 40}, 1.5);
  const cuda_device::Counters before = cuda_device::counters();
  upload.start({c, d});
  Tensor copy = empty({3}, DType::i32, Device::cuda());
  copy_into(copy, a);  // the step before still reads its own
  upload.arrive();
  EXPECT_EQ(to_device(c, Device::cuda()).raw(), at);
  EXPECT_EQ(to_device(d, Device::cuda()).raw(), there);
  EXPECT_EQ(cuda_device::counters().waits, before.waits);
  EXPECT_EQ(copy.to_vector<int32_t>(), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(to_device(to_device(c, Device::cuda()), Device::cpu()).to_vector<int32_t>(), (std::vector<int32_t>{4, 5, 6}));
  EXPECT_EQ(to_device(d, Device::cuda()).to_vector<float>(), d.to_vector<float>());
  EXPECT_NE(to_device(a, Device::cuda()).raw(), at) << "a step's tensors end with it";
}

TEST_F(UploadTest, LargerOnesMoveThem) {
  Upload upload(Device::cuda());
  upload.start({ints({1})});
  upload.arrive();
  EXPECT_EQ(upload.moves(), 1);
  Tensor large = full({1000}, 3);
  upload.start({large});
  upload.arrive();
  EXPECT_EQ(upload.moves(), 2);
  EXPECT_EQ(to_device(large, Device::cuda()).to_vector<float>(), large.to_vector<float>());
}

TEST_F(GraphTest, ReplaysLaunchesWithTheirArgumentsOnWhatIsThereNow) {
  Tensor x = zeros({100}, DType::f32, Device::cuda()), y = zeros({100}, DType::f32, Device::cuda());
  cuda_device::begin_recording();
  add_into(y, x);
  std::unique_ptr<cuda_device::Graph> graph = cuda_device::end_recording();
  fill(x, 2);
  EXPECT_EQ(y.to_vector<float>(), std::vector<float>(100, 0.0f)) << "recorded, not run";
  graph->replay();
  fill(x, 3);
  graph->replay();
  EXPECT_EQ(y.to_vector<float>(), std::vector<float>(100, 5.0f));
}

TEST_F(GraphTest, RefusesWhatAReplayWouldNotRepeat) {
  Tensor x = zeros({4}, DType::f32, Device::cuda());
  for (int what : {0, 1, 2}) {
    cuda_device::begin_recording();
    const std::string message = message_of<DeviceError>([&] {
      if (what == 0) { to_device(zeros({4}), Device::cuda()); }
      else if (what == 1) { to_device(x, Device::cpu()); }
      else { cuda_device::synchronize(); }
    });
    cuda_device::abandon_recording();
    EXPECT_NE(message.find("cannot be recorded: a replay would not repeat it"), std::string::npos) << message;
  }
  fill(x, 1);
  EXPECT_EQ(x.to_vector<float>(), std::vector<float>(4, 1.0f));
}

TEST_F(StepMemoryTest, IsHandedOutToItsUsersAlone) {
  StepMemory memory([] {});
  void *mine = nullptr, *theirs = nullptr;
  {
    const StepMemory::Use use(memory);
    mine = allocate_bytes(1000, Device::cuda());
    EXPECT_EQ(memory.blocks(), 1);
  }
  free_bytes(mine, Device::cuda());
  EXPECT_EQ(memory.blocks(), 0);
  theirs = allocate_bytes(1000, Device::cuda());
  EXPECT_NE(theirs, mine);
  {
    const StepMemory::Use use(memory);
    const int64_t calls = memory_stats(Device::cuda()).system_calls;
    void* again = allocate_bytes(1000, Device::cuda());
    EXPECT_EQ(again, mine);
    EXPECT_EQ(memory_stats(Device::cuda()).system_calls, calls);
    free_bytes(again, Device::cuda());
  }
  free_bytes(theirs, Device::cuda());
}

TEST_F(StepMemoryTest, IsGivenBackWhenTheDeviceHasNoMore) {
  int forgotten = 0;
  StepMemory memory([&] { ++forgotten; });
  const int64_t before = memory_stats(Device::cuda()).reserved;
  void *kept = nullptr, *freed = nullptr;
  {
    const StepMemory::Use use(memory);
    kept = allocate_bytes(1000, Device::cuda());
    freed = allocate_bytes(5000, Device::cuda());
  }
  free_bytes(freed, Device::cuda());
  EXPECT_EQ(forgotten, 0);
  EXPECT_THROW(allocate_bytes(size_t(1) << 50, Device::cuda()), OutOfMemory);
  EXPECT_EQ(forgotten, 1);
  const int64_t held = memory_stats(Device::cuda()).reserved - before;
  EXPECT_GE(held, 1000);
  EXPECT_LT(held, 5000);
  EXPECT_EQ(memory.blocks(), 1);
  free_bytes(kept, Device::cuda());
}

TEST_F(CountersTest, CountWaitsAndLaunches) {
  const cuda_device::Counters before = cuda_device::counters();
  Tensor x = full({8}, 2, DType::f32, Device::cuda());
  EXPECT_EQ(cuda_device::counters().launches - before.launches, 1);
  EXPECT_EQ(cuda_device::counters().waits, before.waits);
  x.to_vector<float>();
  EXPECT_EQ(cuda_device::counters().waits - before.waits, 1);
}

}  // namespace
}  // namespace pumice
