// A CUDA card through the CUDA runtime, which is linked statically: the program starts on machines that have no driver.
#include "pumice/tensor/cuda_device.h"

#include <cuda_runtime_api.h>

#include "pumice/tensor/error.h"

namespace pumice::cuda_device {
namespace {

struct Probe { int devices = 0; std::string text; };

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
  p.text = concat_text(properties.name, ", ", properties.totalGlobalMem >> 30, " GiB, compute capability ", properties.major, ".", properties.minor);
  return p;
}

const Probe& probe() {
  static const Probe p = look();
  return p;
}

void check(cudaError_t error, const char* what) {
  REQUIRE(DeviceError, error == cudaSuccess, "[cuda] ", what, ": ", cudaGetErrorString(error));
}

}  // namespace

bool built() { return true; }
int count() { return probe().devices; }
std::string describe() { return probe().text; }
void require(Device device) {
  REQUIRE(DeviceError, device.index >= 0 && device.index < count(), "[device] ", device, " cannot be used: ", count() ? "the devices are cuda:0 to cuda:" +
          std::to_string(count() - 1) : probe().text, ". Use --device cpu, or check `pumice doctor`");
}
bool may_cache() { return true; }

cudaStream_t stream() {
  static cudaStream_t s = [] {
    cudaStream_t made = nullptr;
    check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "a stream");
    return made;
  }();
  return s;
}

void require_launched(cudaError_t error, const char* name) {
  REQUIRE(DeviceError, error == cudaSuccess, "[cuda] the kernel ", name, " could not be launched: ", cudaGetErrorString(error));
}

void* allocate(size_t bytes) {
  void* p = nullptr;
  const cudaError_t error = cudaMalloc(&p, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, "memory");
  return p;
}
void release(void* p) noexcept { cudaFree(p); }

void copy_to_device(void* dst, const void* src, size_t bytes) {
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
  check(cudaStreamSynchronize(stream()), "an earlier kernel");
}

}  // namespace pumice::cuda_device
