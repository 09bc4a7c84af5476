#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"

namespace pumice::cuda_device {

bool built() { return false; }
bool emulated() { return false; }
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
void in_stream(std::function<void(void*)>) { require(Device::cuda()); }
Counters counters() { return {}; }
void* allocate_pinned(size_t) { return nullptr; }
void release_pinned(void*) noexcept {}
void upload(void*, const void*, size_t) { require(Device::cuda()); }
void download(void*, const void*, size_t) { require(Device::cuda()); }

struct Event::Place {};
Event::Event() { require(Device::cuda()); }
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
void Event::record(Stream) {}
void Event::hold(Stream) const {}
bool Event::reached() const { return true; }
void Event::wait() const {}

struct Graph::Work {};
Graph::Graph(std::unique_ptr<Work> work) : work_(std::move(work)) {}
Graph::~Graph() = default;
void Graph::replay() {}
void begin_recording() { require(Device::cuda()); }
std::unique_ptr<Graph> end_recording() { return nullptr; }
void abandon_recording() noexcept {}

}  // namespace pumice::cuda_device
