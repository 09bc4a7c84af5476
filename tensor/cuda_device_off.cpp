#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"

namespace pumice::cuda_device {

bool built() { return false; }
int count() { return 0; }
std::string describe() { return "not in this build (PUMICE_CUDA=off)"; }
size_t shared_memory() { return 0; }
size_t free_memory() { return 0; }
void require(Device device) {
  throw DeviceError(concat_text("[device] this build has no ", device, "; use cpu, or build with -DPUMICE_CUDA=on"), __FILE__, __LINE__);
}
void* allocate(size_t) { return nullptr; }
void release(void*) noexcept {}
bool may_cache() { return true; }
void copy_to_device(void*, const void*, size_t) { require(Device::cuda()); }
void copy_to_host(void*, const void*, size_t) { require(Device::cuda()); }
void copy_on_device(void*, const void*, size_t) { require(Device::cuda()); }
void synchronize() {}

}  // namespace pumice::cuda_device
