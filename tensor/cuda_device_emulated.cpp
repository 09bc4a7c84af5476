// Device memory of the SIMT emulator: a registry of allocations, so that a kernel's pointers, bounds and first reads can be checked.
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

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
std::atomic<int64_t> waits{0}, allocated{0}, launches{0}, replays{0};

// Work that is recorded in place of being run: launches with copies of their arguments, and copies on the device.
std::vector<std::function<void()>>* recorded = nullptr;

void require_not_recording(const char* what) {
  REQUIRE(DeviceError, !recorded, "[cuda] ", what, " cannot be recorded: a replay would not repeat it");
}

// The copies of a stream that are under way. Each lands when an event behind it is waited for. A download has read its source in the order of the
// stream; an upload reads it when it lands, so that pinned memory which is written too early is seen.
struct Copying { void* dst; const void* src; std::vector<char> data; size_t bytes; };
void copy(void* dst, const void* src, const void* on_device, size_t bytes, const char* what);
struct UnderWay {
  std::deque<Copying> copies;
  int64_t landed = 0;  // of all that ever were under way

  int64_t all() const { return landed + int64_t(copies.size()); }
  void land(int64_t until) {
    for (; landed < until; ++landed) {
      Copying c = std::move(copies.front());
      copies.pop_front();
      if (c.src) {
        copy(c.dst, c.src, c.dst, c.bytes, "a copy to the device");
        if (kChecks) { shadow_mark(c.dst, c.bytes, Shadow::initialised); }
      } else {
        std::memcpy(c.dst, c.data.data(), c.bytes);
      }
    }
  }
};
UnderWay under_way[2];  // by cuda_device::Stream

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

void record(const Config& c, Body body, std::shared_ptr<void> args) {
  recorded->push_back([c, body, args] { run(c, body, args.get()); });
}
bool recording() { return recorded != nullptr; }
void count_launch() { ++launches; }

void device_memory_in_use(bool begin) {
  std::lock_guard lock(mutex);
  const bool change = begin ? kernels_running++ == 0 : --kernels_running == 0;
  if (!change) { return; }
  for (auto& [p, bytes] : allocations()) { set_poison(p, bytes, !begin); }
}

}  // namespace simt::emu

namespace cuda_device {

bool built() { return true; }
bool emulated() { return true; }
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

constexpr size_t kSmallCopy = size_t(64) << 10;  // as on a card, where a longer copy from memory that is not pinned waits

void* allocate(size_t bytes) {
  if (bytes / size_t(sysconf(_SC_PAGESIZE)) >= size_t(sysconf(_SC_PHYS_PAGES))) { return nullptr; }  // more than the machine has
  std::lock_guard lock(mutex);
  ++allocated;
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
  require_not_recording("a copy from the host");
  waits += bytes > kSmallCopy;
  copy(dst, src, dst, bytes, "a copy to the device");
  if (kChecks) { shadow_mark(dst, bytes, Shadow::initialised); }
}
void copy_to_host(void* dst, const void* src, size_t bytes) {
  require_not_recording("a copy to the host");
  ++waits;
  copy(dst, src, src, bytes, "a copy to the host");
}
void copy_on_device(void* dst, const void* src, size_t bytes) {
  if (recorded) { return recorded->push_back([=] { copy_on_device(dst, src, bytes); }); }
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
void synchronize() {
  require_not_recording("waiting for the device");
  ++waits;
  under_way[int(Stream::work)].land(under_way[int(Stream::work)].all());
}

// A library knows nothing of the emulator: what it writes is not marked as written, so that checked builds say of its results that nobody wrote them.
void in_stream(std::function<void(void*)> work) {
  ++launches;
  auto run = [work = std::move(work)] {
    device_memory_in_use(true);
    try {
      work(nullptr);
    } catch (...) {
      device_memory_in_use(false);
      throw;
    }
    device_memory_in_use(false);
  };
  if (recorded) { return recorded->push_back(std::move(run)); }
  run();
}

Counters counters() { return {.waits = waits, .allocations = allocated, .launches = launches, .replays = replays}; }

void* allocate_pinned(size_t bytes) {
  ++allocated;
  return std::malloc(bytes);
}
void release_pinned(void* p) noexcept { std::free(p); }

void upload(void* dst, const void* pinned, size_t bytes) { under_way[int(Stream::upload)].copies.push_back({dst, pinned, {}, bytes}); }
void download(void* pinned, const void* src, size_t bytes) {
  require_not_recording("a copy to the host");
  Copying c{pinned, nullptr, std::vector<char>(bytes), bytes};
  copy(c.data.data(), src, src, bytes, "a copy to the host");
  under_way[int(Stream::work)].copies.push_back(std::move(c));
}

struct Event::Place {  // kernels are done when they are launched
  Stream stream = Stream::work;
  int64_t copies = 0;
  void land() const { under_way[int(stream)].land(copies); }
};
Event::Event() : place_(std::make_unique<Place>()) {}
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
void Event::record(Stream stream) { *place_ = {stream, under_way[int(stream)].all()}; }
void Event::hold(Stream) const { place_->land(); }
bool Event::reached() const {
  place_->land();
  return true;
}
void Event::wait() const { place_->land(); }

struct Graph::Work { std::vector<std::function<void()>> list; };
namespace {
std::unique_ptr<Graph::Work> being_recorded;
}
Graph::Graph(std::unique_ptr<Work> work) : work_(std::move(work)) {}
Graph::~Graph() = default;
void Graph::replay() {
  ++replays;
  for (auto& one : work_->list) { one(); }
}
void begin_recording() {
  require_not_recording("a recording");
  being_recorded = std::make_unique<Graph::Work>();
  recorded = &being_recorded->list;
}
std::unique_ptr<Graph> end_recording() {
  recorded = nullptr;
  return std::make_unique<Graph>(std::move(being_recorded));
}
void abandon_recording() noexcept {
  recorded = nullptr;
  being_recorded.reset();
}

}  // namespace cuda_device
}  // namespace pumice
