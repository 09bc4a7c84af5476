// Scratch memory of the calling thread: grows, is never given back while the thread lives, and holds garbage. For CPU kernels, so
// that packing buffers cost no allocation after the first call. Free of STL.
#pragma once
#include <cstdint>

namespace pumice {

// 64-byte aligned. Slots are independent buffers of one thread; a kernel that calls another must not use the callee's slots.
inline constexpr int kScratchSlots = 8;
void* scratch_bytes(int slot, int64_t bytes);
template <class T> inline __attribute__((always_inline)) T* scratch(int slot, int64_t count) {
  return static_cast<T*>(scratch_bytes(slot, count * int64_t(sizeof(T))));
}

}  // namespace pumice
