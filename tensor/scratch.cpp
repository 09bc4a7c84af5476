#include "pumice/tensor/scratch.h"

#include "pumice/tensor/memory.h"

namespace pumice {
namespace {

struct Slots {
  void* data[kScratchSlots] = {};
  int64_t bytes[kScratchSlots] = {};
  ~Slots() {
    for (void* p : data) {
      if (p) { free_bytes(p); }
    }
  }
};

}  // namespace

void* scratch_bytes(int slot, int64_t bytes) {
  static thread_local Slots slots;
  if (slots.bytes[slot] < bytes) {
    MemoryTag tag("kernel scratch");
    if (slots.data[slot]) { free_bytes(slots.data[slot]); }
    slots.data[slot] = nullptr;
    slots.bytes[slot] = 0;
    slots.data[slot] = allocate_bytes(size_t(bytes));
    slots.bytes[slot] = bytes;
  }
  return slots.data[slot];
}

}  // namespace pumice
