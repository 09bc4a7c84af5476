// The emulator's own test: every planted fault is caught, in the builds that can see it, and the right kernels pass.
#include "faults.h"

#include <gtest/gtest.h>

#include "../../message_of.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/simt/emulator.h"
#include "pumice/tensor/tensor.h"

namespace pumice {
namespace {

struct Memory {
  Tensor x, y, scan, a, b;
  explicit Memory(bool filled = true) {
    std::vector<float> values(128);
    for (size_t i = 0; i < values.size(); ++i) { values[i] = float(i) * 0.5f - 7; }
    x = to_device(from_values<float>({128}, values), Device::cuda());
    y = filled ? to_device(zeros({256}), Device::cuda()) : empty({256}, DType::f32, Device::cuda());
    scan = to_device(zeros({256}, DType::i32), Device::cuda());
    std::vector<float> square(256);
    for (size_t i = 0; i < square.size(); ++i) { square[i] = float(int(i * 7 % 13) - 6); }
    a = to_device(to_dtype(from_values<float>({256}, square), DType::bf16), Device::cuda());
    b = to_device(to_dtype(from_values<float>({256}, square).slice(0, 0, 128), DType::bf16), Device::cuda());
  }
  void launch(const std::string& name) const {
    testing::launch_fault(name, y.data<float>(), x.data<float>(), scan.data<int32_t>(), a.data<bf16>(), b.data<bf16>());
  }
};

struct Fault { const char* name; std::vector<const char*> says; bool filled = true; };

void expect_caught(const Fault& f) {
  Memory memory(f.filled);
  const std::string message = testing::message_of<KernelError>([&] { memory.launch(f.name); });
  for (const char* part : f.says) { EXPECT_NE(message.find(part), std::string::npos) << f.name << " says:\n" << message; }
}

TEST(Simt, FaultsThatEveryBuildCatches) {
  for (const Fault& f : std::vector<Fault>{
           {"divergent_barrier", {"wait at different __syncthreads", "faults_cuda.cu:"}},
           {"early_return",
            {"deadlock", "200 threads (first (0,0,0)) wait at __syncthreads", "56 threads (first (200,0,0)) have returned", "early_return"}},
           {"half_shuffle", {"have returned", "__shfl_sync"}},
           {"partial_warp", {"full-mask warp operation in a partial warp: make blockDim a multiple of 32"}},
           {"misaligned_copy", {"cp.async: an address is not 16-byte aligned"}},
           {"too_many_threads", {"a block must have 1 to 1024 threads, got 2048"}},
           {"empty_grid", {"a grid of 0 x 1 x 1 blocks cannot be launched"}},
           {"too_much_shared_memory", {"227 KiB of shared memory, the launch asks for 300000 bytes"}},
       }) {
    expect_caught(f);
  }
}

TEST(Simt, FaultsThatTheCheckedBuildCatches) {
  if (!simt::emu::kChecks) { GTEST_SKIP() << "needs -DPUMICE_SIMT_CHECK=ON"; }
  for (const Fault& f : std::vector<Fault>{
           {"write_out_of_bounds", {"out of bounds: global memory", "write of 4 bytes", "thread (127,0,0)", "faults_cuda.cu:"}},
           {"read_out_of_bounds", {"out of bounds", "read of 4 bytes", "thread (127,0,0)"}},
           {"uninitialised_global", {"read of uninitialised memory: global memory (1024 bytes) at byte 256"}, false},
           {"misaligned_vector", {"misaligned access: global memory", "at byte 4", "read of 16 bytes by block (0,0,0) thread (0,0,0)", "faults_cuda.cu:"}},
           {"shared_overrun", {"out of bounds: shared tile (128 bytes) at byte 128"}},
           {"dynamic_overrun", {"out of bounds: dynamic shared memory (128 bytes) at byte 128"}},
           {"uninitialised_shared", {"read of uninitialised memory: shared tile (256 bytes)"}},
           {"no_barrier", {"race: shared value", "read of 4 bytes by block (0,0,0) thread (1,0,0)", "earlier write by block 0 thread (0,0,0)"}},
           {"no_syncwarp", {"shared tile"}},
           {"no_second_barrier", {"race: shared tile", "earlier"}},
           {"sum_without_atomic", {"race: global memory", "by block (1,0,0)", "earlier write by block 0"}},
           {"wrong_wait", {"read of uninitialised memory: shared tile"}},
       }) {
    expect_caught(f);
  }
}

TEST(Simt, AFaultLeavesTheDeviceUsable) {
  Memory memory;
  EXPECT_THROW(memory.launch("early_return"), KernelError);
  EXPECT_THROW(memory.launch("divergent_barrier"), KernelError);
  memory.launch("right: barrier");
  for (int i = 0; i < 64; ++i) { EXPECT_EQ(memory.y.to_vector<float>()[size_t(i)], 3); }
}

TEST(Simt, RightKernelsPass) {
  Memory memory;
  memory.launch("right: syncwarp");
  EXPECT_EQ(memory.y.to_vector<float>()[0], 31);
  memory.launch("right: second_barrier");
  EXPECT_EQ(memory.y.to_vector<float>()[62], 1);
  memory.launch("right: wait");
  EXPECT_EQ(memory.y.to_vector<float>()[0], memory.x.to_vector<float>()[4]);
}

TEST(Simt, AtomicsOfManyBlocksAddUp) {
  Memory memory;
  memory.launch("right: atomic");
  EXPECT_EQ(memory.y.to_vector<float>()[0], 64);
}

TEST(Simt, ATensorCoreProductIsTheProduct) {
  Memory memory;
  memory.launch("right: mma");
  const std::vector<float> a = memory.a.to_vector<float>(), bt = memory.b.to_vector<float>(), c = memory.y.to_vector<float>();
  for (size_t i = 0; i < 16; ++i) {
    for (size_t j = 0; j < 8; ++j) {
      float want = 0;
      for (size_t k = 0; k < 16; ++k) { want += a[i * 16 + k] * bt[j * 16 + k]; }
      EXPECT_EQ(c[i * 8 + j], want) << i << ", " << j;  // small integers: exact
    }
  }
}

TEST(Simt, ReductionsAndScansOverABlock) {
  Memory memory;
  memory.launch("right: helpers");
  const std::vector<float> x = memory.x.to_vector<float>(), y = memory.y.to_vector<float>();
  float sum = 0;
  for (size_t i = 0; i < 100; ++i) { sum += x[i]; }
  const std::vector<int32_t> scan = memory.scan.to_vector<int32_t>();
  int before = 0;
  for (size_t i = 0; i < 128; ++i) {
    EXPECT_EQ(y[i], sum);
    EXPECT_EQ(scan[i], before);
    before += int(i % 3);
  }
  EXPECT_EQ(scan[128], before);
}

TEST(Simt, AHostPointerIsNotADevicePointer) {
  std::vector<float> host(256);
  Memory memory;
  const std::string message = testing::message_of<KernelError>(
      [&] { testing::launch_fault("right: barrier", host.data(), memory.x.data<float>(), nullptr, nullptr, nullptr); });
  EXPECT_NE(message.find("kernel argument 0 is not a device pointer"), std::string::npos) << message;
}

}  // namespace
}  // namespace pumice
