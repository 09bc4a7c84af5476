#include "pumice/tensor/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"

namespace pumice {
namespace {

constexpr size_t kAlign = 64, kHuge = size_t(2) << 20;
thread_local const char* current_tag = "untagged";

thread_local int current_part = 0;  // of CUDA's pool: 0 is everybody's, the others belong to a StepMemory each

struct Block { size_t bytes; const char* tag; int part; };
struct Part {
  std::unordered_map<size_t, std::vector<void*>> cached;  // by size class
  int64_t in_use = 0;                                     // blocks
  std::function<void()> forget;                           // of a StepMemory
};

// Never destroyed: tensors in static storage may be freed after any destructor of ours has run.
struct Pool {
  Device device;
  std::mutex mutex;
  std::map<int, Part> parts;
  std::unordered_map<void*, Block> live;
  MemoryStats stats;
  int next_part = 1;
};
Pool& pool(Device device) {
  static Pool* cpu = new Pool;
  static Pool* cuda = new Pool{.device = Device::cuda()};
  return device.kind == Device::kCpu ? *cpu : *cuda;
}

// Multiples of 64 up to 1 KB, then four classes per power of two: at most 25 % is lost to rounding.
size_t size_class(size_t bytes) {
  if (bytes <= 1024) { return std::max(kAlign, (bytes + kAlign - 1) / kAlign * kAlign); }
  size_t step = std::bit_floor(bytes) / 4;
  return (bytes + step - 1) / step * step;
}

void* system_allocate(size_t bytes, Device device) {
  if (device.kind == Device::kCuda) { return cuda_device::allocate(bytes); }
  size_t align = bytes >= kHuge ? kHuge : kAlign;
  void* p = std::aligned_alloc(align, (bytes + align - 1) / align * align);
  if (p && bytes >= kHuge) { madvise(p, bytes, MADV_HUGEPAGE); }
  return p;
}

void system_free(void* p, Device device) {
  if (device.kind == Device::kCuda) { cuda_device::release(p); }
  else { std::free(p); }
}

void release_cached(Pool& p, int part = 0) {
  for (auto& [bytes, blocks] : p.parts[part].cached) {
    p.stats.reserved -= int64_t(bytes * blocks.size());
    for (void* b : blocks) { system_free(b, p.device); }
  }
  p.parts[part].cached.clear();
}

std::string table_of(Pool& p) {
  std::map<std::string, std::pair<int64_t, int64_t>> by_tag;
  for (auto& [ptr, block] : p.live) {
    by_tag[block.tag].first += int64_t(block.bytes);
    by_tag[block.tag].second += 1;
  }
  std::vector<std::pair<std::string, std::pair<int64_t, int64_t>>> rows(by_tag.begin(), by_tag.end());
  std::stable_sort(rows.begin(), rows.end(), [](auto& a, auto& b) { return a.second.first > b.second.first; });
  std::string text;
  char line[160];
  for (auto& [tag, held] : rows) {
    std::snprintf(line, sizeof line, "  %10.1f MiB in %6lld blocks  %s\n", double(held.first) / (1 << 20),
                  static_cast<long long>(held.second), tag.c_str());
    text += line;
  }
  return text;
}

}  // namespace

void* allocate_bytes(size_t bytes, Device device) {
  const bool exact = device.kind == Device::kCuda && !cuda_device::may_cache();  // then bounds are checked to the byte
  size_t size = exact ? std::max<size_t>(bytes, 1) : size_class(bytes);
  Pool& p = pool(device);
  const int number = device.kind == Device::kCuda ? current_part : 0;
  std::lock_guard lock(p.mutex);
  Part& part = p.parts[number];
  void* block = nullptr;
  auto it = part.cached.find(size);
  if (it != part.cached.end() && !it->second.empty()) {
    block = it->second.back();
    it->second.pop_back();
  } else {
    int64_t limit = device.kind == Device::kCpu ? flags::memory_limit_mib() * (int64_t(1) << 20) : 0;
    if (limit && p.stats.reserved + int64_t(size) > limit) { release_cached(p); }
    bool allowed = !limit || p.stats.reserved + int64_t(size) <= limit;
    block = allowed ? system_allocate(size, device) : nullptr;
    if (!block && allowed) {
      release_cached(p);
      block = system_allocate(size, device);
    }
    for (auto other = p.parts.begin(); !block && allowed && other != p.parts.end(); ++other) {
      if (!other->second.forget) { continue; }
      other->second.forget();
      release_cached(p, other->first);
      block = system_allocate(size, device);
    }
    REQUIRE(OutOfMemory, block, "[memory] ", size >> 20, " MiB more are needed on ", device, " for ", current_tag, "; ",
            p.stats.in_use >> 20, " MiB are in use", limit ? concat_text(" of PUMICE_MEMORY_LIMIT=", limit >> 20, " MiB") : std::string(),
            ". Lower --batch-size or raise --accum-freq, or turn on --grad-checkpointing. In use:\n", table_of(p));
    p.stats.reserved += int64_t(size);
    p.stats.system_calls += 1;
  }
  p.live[block] = {size, current_tag, number};
  part.in_use += 1;
  p.stats.in_use += int64_t(size);
  p.stats.peak = std::max(p.stats.peak, p.stats.in_use);
  return block;
}

void free_bytes(void* ptr, Device device) noexcept {
  Pool& p = pool(device);
  std::lock_guard lock(p.mutex);
  auto it = p.live.find(ptr);
  if (it == p.live.end()) { return; }
  p.stats.in_use -= int64_t(it->second.bytes);
  auto own = p.parts.find(it->second.part);
  if (own == p.parts.end()) { own = p.parts.try_emplace(0).first; }  // its StepMemory is gone
  else { own->second.in_use -= 1; }
  if (device.kind == Device::kCuda && !cuda_device::may_cache() && own->first == 0) {
    p.stats.reserved -= int64_t(it->second.bytes);
    cuda_device::release(ptr);
  } else {
    own->second.cached[it->second.bytes].push_back(ptr);
  }
  p.live.erase(it);
}

MemoryTag::MemoryTag(const char* what) : previous_(current_tag) { current_tag = what; }
MemoryTag::~MemoryTag() { current_tag = previous_; }

StepMemory::StepMemory(std::function<void()> forget) {
  Pool& p = pool(Device::cuda());
  std::lock_guard lock(p.mutex);
  number_ = p.next_part++;
  p.parts[number_].forget = std::move(forget);
}
StepMemory::~StepMemory() {
  Pool& p = pool(Device::cuda());
  std::lock_guard lock(p.mutex);
  release_cached(p, number_);
  p.parts.erase(number_);
}
int64_t StepMemory::blocks() const {
  Pool& p = pool(Device::cuda());
  std::lock_guard lock(p.mutex);
  return p.parts[number_].in_use;
}
StepMemory::Use::Use(const StepMemory& memory) : previous_(current_part) { current_part = memory.number_; }
StepMemory::Use::~Use() { current_part = previous_; }

MemoryStats memory_stats(Device device) {
  std::lock_guard lock(pool(device).mutex);
  return pool(device).stats;
}
void reset_peak_memory() {
  for (Device d : {Device::cpu(), Device::cuda()}) {
    std::lock_guard lock(pool(d).mutex);
    pool(d).stats.peak = pool(d).stats.in_use;
  }
}
void release_cached_memory() {
  for (Device d : {Device::cpu(), Device::cuda()}) {
    std::lock_guard lock(pool(d).mutex);
    release_cached(pool(d));
  }
}
std::string memory_table(Device device) {
  std::lock_guard lock(pool(device).mutex);
  return table_of(pool(device));
}

}  // namespace pumice
