// Caching allocators, one per device. Freed blocks are kept by size class and handed out again, so that after the first training steps almost no
// memory is asked of the system. Blocks are 64-byte aligned; large ones ask for huge pages. Thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "pumice/tensor/device.h"

namespace pumice {

// Throws OutOfMemory, with a table of who holds what, when the system or PUMICE_MEMORY_LIMIT refuses.
void* allocate_bytes(size_t bytes, Device device = Device::cpu());
void free_bytes(void* p, Device device = Device::cpu()) noexcept;

// Names who allocates while it lives on this thread, for the out-of-memory table. `what` must outlive the allocations.
class MemoryTag {
 public:
  explicit MemoryTag(const char* what);
  ~MemoryTag();
  MemoryTag(const MemoryTag&) = delete;
  MemoryTag& operator=(const MemoryTag&) = delete;

 private:
  const char* previous_;
};

// Device memory of recorded work (cuda_device.h): what is allocated while a Use lives on this thread comes from here, and stays here when it is freed,
// so that nobody else writes where a replay works. Tensors made under a Use should be gone before a replay: blocks() tells.
class StepMemory {
 public:
  // `forget` is called when the device has no more memory: after it nothing may be replayed, and what is free here is given back. It may throw, and must
  // not allocate.
  explicit StepMemory(std::function<void()> forget);
  ~StepMemory();  // what is still in use is freed for everybody later
  StepMemory(const StepMemory&) = delete;
  StepMemory& operator=(const StepMemory&) = delete;
  int64_t blocks() const;  // in use now

  class Use {
   public:
    explicit Use(const StepMemory& memory);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    int previous_;
  };

 private:
  int number_;
};

struct MemoryStats {
  int64_t in_use = 0;         // bytes handed out now (rounded to their size class)
  int64_t peak = 0;           // the most that was in use since reset_peak_memory()
  int64_t reserved = 0;       // bytes held from the system, in use or cached
  int64_t system_calls = 0;   // how often the system was asked; constant in a steady training step
};
MemoryStats memory_stats(Device device = Device::cpu());
void reset_peak_memory();
void release_cached_memory();  // of every device
std::string memory_table(Device device = Device::cpu());   // one line per tag, largest first

}  // namespace pumice
