// Device memory of the SIMT emulator: a registry of allocations, so that a kernel's pointers, bounds and first reads can be checked.
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <mutex>

#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/simt/emulator.h"

#if PUMICE_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace pumice {
namespace {

using namespace simt::emu;

std::mutex mutex;
std::map<const char*, size_t>& allocations() {  // never destroyed: tensors in static storage are freed late
  static auto* all = new std::map<const char*, size_t>;
  return *all;
}
int kernels_running = 0;

Allocation find(const void* p, size_t bytes) {
  auto it = allocations().upper_bound(static_cast<const char*>(p));
  if (it == allocations().begin()) { return {nullptr, 0}; }
  --it;
  const char* end = it->first + it->second;
  if (static_cast<const char*>(p) + bytes > end) { return {nullptr, 0}; }
  return {const_cast<char*>(it->first), it->second};
}

// AddressSanitizer: outside kernels and copies nobody may read device memory, so that host code which follows a device pointer dies.
void set_poison([[maybe_unused]] const void* p, [[maybe_unused]] size_t bytes, [[maybe_unused]] bool poisoned) {
#if PUMICE_SIMT_ASAN
  if (poisoned) { __asan_poison_memory_region(p, bytes); }
  else { __asan_unpoison_memory_region(p, bytes); }
#endif
}

void copy(void* dst, const void* src, const void* on_device, size_t bytes, const char* what) {
  std::lock_guard lock(mutex);
  REQUIRE(DeviceError, find(on_device, bytes).data, "[simt] ", what, " of ", bytes, " bytes runs outside a device allocation");
  if (!kernels_running) { set_poison(on_device, bytes, false); }
  std::memcpy(dst, src, bytes);
  if (!kernels_running) { set_poison(on_device, bytes, true); }
}

}  // namespace

namespace simt::emu {

Allocation allocation_of(const void* p, size_t bytes) {
  std::lock_guard lock(mutex);
  return find(p, bytes);
}

void device_memory_in_use(bool begin) {
  std::lock_guard lock(mutex);
  const bool change = begin ? kernels_running++ == 0 : --kernels_running == 0;
  if (!change) { return; }
  for (auto& [p, bytes] : allocations()) { set_poison(p, bytes, !begin); }
}

}  // namespace simt::emu

namespace cuda_device {

bool built() { return true; }
int count() { return 1; }
std::string describe() { return "emulated on the CPU (PUMICE_CUDA=emulate), for tests and debugging of kernels"; }
size_t shared_memory() { return kMaxShared; }
size_t free_memory() { return size_t(sysconf(_SC_AVPHYS_PAGES)) * size_t(sysconf(_SC_PAGESIZE)); }
void require(Device device) { REQUIRE(DeviceError, device.index == 0, "[device] the emulator has one device, cuda:0; got ", device); }
bool may_cache() {
#if PUMICE_SIMT_ASAN
  return false;
#else
  return !kChecks;
#endif
}

void* allocate(size_t bytes) {
  std::lock_guard lock(mutex);
  char* p = nullptr;
  if (kChecks) {
    p = shadowed_memory(bytes, 256);
    shadow_mark(p, bytes, Shadow::uninitialised);
  } else {  // exactly as long as asked for: AddressSanitizer's redzone starts right behind it
    void* q = nullptr;
    if (posix_memalign(&q, 256, bytes) != 0) { return nullptr; }
    p = static_cast<char*>(q);
  }
  std::memset(p, 0xff, bytes);  // NaN in every floating-point format
  allocations()[p] = bytes;
  if (!kernels_running) { set_poison(p, bytes, true); }
  return p;
}

void release(void* p) noexcept {
  std::lock_guard lock(mutex);
  auto it = allocations().find(static_cast<char*>(p));
  if (it == allocations().end()) { return; }
  if (kChecks) {
    release_shadowed_memory(static_cast<char*>(p), it->second);
  } else {
    set_poison(p, it->second, false);
    std::free(p);
  }
  allocations().erase(it);
}

void copy_to_device(void* dst, const void* src, size_t bytes) {
  copy(dst, src, dst, bytes, "a copy to the device");
  if (kChecks) { shadow_mark(dst, bytes, Shadow::initialised); }
}
void copy_to_host(void* dst, const void* src, size_t bytes) { copy(dst, src, src, bytes, "a copy to the host"); }
void copy_on_device(void* dst, const void* src, size_t bytes) {
  std::lock_guard lock(mutex);
  REQUIRE(DeviceError, find(dst, bytes).data && find(src, bytes).data, "[simt] a copy of ", bytes, " bytes runs outside a device allocation");
  set_poison(dst, bytes, false);
  set_poison(src, bytes, false);
  std::memmove(dst, src, bytes);
  if (kChecks) { shadow_mark(dst, bytes, Shadow::initialised); }
  if (!kernels_running) {
    set_poison(dst, bytes, true);
    set_poison(src, bytes, true);
  }
}
void synchronize() {}

}  // namespace cuda_device
}  // namespace pumice
