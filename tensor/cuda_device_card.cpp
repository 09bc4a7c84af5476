// A CUDA card through the CUDA runtime, which is linked statically: the program starts on machines that have no driver.
#include "pumice/tensor/cuda_device.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <mutex>

#include "pumice/tensor/error.h"

namespace pumice::cuda_device {
namespace {

constexpr size_t kSmallCopy = size_t(64) << 10, kRing = size_t(4) << 20;

struct Probe { int devices = 0; std::string text; size_t shared_memory = 0; };

Probe look() {
  Probe p;
  cudaError_t error = cudaGetDeviceCount(&p.devices);
  if (error != cudaSuccess || p.devices == 0) {
    p.devices = 0;
    p.text = error == cudaErrorInsufficientDriver ? "no NVIDIA driver, or one older than this build's CUDA runtime" : cudaGetErrorString(error);
    cudaGetLastError();
    return p;
  }
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess || properties.major < 8) {
    p.devices = 0;
    p.text = concat_text(properties.name, " has compute capability ", properties.major, ".", properties.minor, "; 8.0 or newer is required");
    return p;
  }
  p.shared_memory = properties.sharedMemPerBlockOptin;
  p.text = concat_text(properties.name, ", ", properties.totalGlobalMem >> 30, " GiB, compute capability ", properties.major, ".", properties.minor);
  return p;
}

const Probe& probe() {
  static const Probe p = look();
  return p;
}

// Faults of a kernel, which whatever call comes next reports. The process can use the device no more.
bool of_an_earlier_kernel(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress: case cudaErrorMisalignedAddress: case cudaErrorInvalidAddressSpace: case cudaErrorIllegalInstruction:
    case cudaErrorInvalidPc: case cudaErrorHardwareStackError: case cudaErrorLaunchFailure: case cudaErrorLaunchTimeout: case cudaErrorAssert:
      return true;
    default: return false;
  }
}
void check(cudaError_t error, const char* what, const char* kernel = "") {
  const bool earlier = of_an_earlier_kernel(error);
  REQUIRE(DeviceError, error == cudaSuccess, "[cuda] ", what, kernel, earlier ? " found that a kernel has failed: " : " failed: ",
          cudaGetErrorString(error), earlier ? ". Wrong offsets or row numbers end a kernel so. CUDA_LAUNCH_BLOCKING=1 names the kernel" : "");
}

}  // namespace

bool built() { return true; }
int count() { return probe().devices; }
std::string describe() { return probe().text; }
size_t shared_memory() { return probe().shared_memory; }
size_t free_memory() {
  size_t free = 0, total = 0;
  return count() && cudaMemGetInfo(&free, &total) == cudaSuccess ? free : 0;
}
void require(Device device) {
  REQUIRE(DeviceError, count(), "[device] ", device, " cannot be used: ", probe().text, ". Use --device cpu, or check `pumice doctor`");
  REQUIRE(DeviceError, device.index == 0, "[device] a process uses one card, cuda:0; got ", device,
          ". CUDA_VISIBLE_DEVICES chooses which card that is");
}
bool may_cache() { return true; }

cudaStream_t stream() {
  static cudaStream_t s = [] {
    cudaStream_t made = nullptr;
    check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "making a stream");
    return made;
  }();
  return s;
}

void require_launched(cudaError_t error, const char* name) {
  check(error, "the launch of the kernel ", name);
}

void allow_shared_memory(const void* kernel, size_t bytes, const char* name) {
  REQUIRE(DeviceError, bytes <= shared_memory(), "[cuda] the kernel ", name, " needs ", bytes, " bytes of shared memory in a block, ", describe(),
          " has ", shared_memory(), ". Use a card that has more (A100, H100, B200), or --device cpu");
  require_launched(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)), name);
}

void* allocate(size_t bytes) {
  void* p = nullptr;
  const cudaError_t error = cudaMalloc(&p, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, "an allocation");
  return p;
}
void release(void* p) noexcept { cudaFree(p); }

// Small copies (offsets, scalars, labels) go through a ring of pinned memory, so that the host need not wait for the kernels before them: it waits
// once per turn of the ring, when what it overwrites must have arrived.
void copy_small_to_device(void* dst, const void* src, size_t bytes) {
  static std::mutex mutex;
  static char* ring = nullptr;
  static size_t used = 0;
  std::lock_guard lock(mutex);
  if (!ring) {
    void* made = nullptr;
    check(cudaMallocHost(&made, kRing), "an allocation of pinned memory");
    ring = static_cast<char*>(made);
  }
  if (used + bytes > kRing) {
    synchronize();
    used = 0;
  }
  std::memcpy(ring + used, src, bytes);
  check(cudaMemcpyAsync(dst, ring + used, bytes, cudaMemcpyHostToDevice, stream()), "a copy to the device");
  used += (bytes + 63) / 64 * 64;
}
void copy_to_device(void* dst, const void* src, size_t bytes) {
  if (bytes <= kSmallCopy) { return copy_small_to_device(dst, src, bytes); }
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, stream()), "a copy to the device");
  synchronize();  // src may be pageable and freed by the caller
}
void copy_to_host(void* dst, const void* src, size_t bytes) {
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, stream()), "a copy to the host");
  synchronize();
}
void copy_on_device(void* dst, const void* src, size_t bytes) {
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream()), "a copy on the device");
}
void synchronize() {
  if (count() == 0) { return; }
  check(cudaStreamSynchronize(stream()), "waiting for the device");
}

}  // namespace pumice::cuda_device
