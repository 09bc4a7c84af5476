// A CUDA card through the CUDA runtime, which is linked statically: the program starts on machines that have no driver.
#include "pumice/tensor/cuda_device.h"

#include <cuda_runtime_api.h>

#include <atomic>
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

std::atomic<int64_t> waits{0}, pauses{0}, allocations{0}, launches{0}, replays{0};
std::atomic<bool> recording{false};

void require_not_recording(const char* what) {
  REQUIRE(DeviceError, !recording, "[cuda] ", what, " cannot be recorded: a replay would not repeat it");
}

cudaStream_t make_stream() {
  cudaStream_t made = nullptr;
  check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "making a stream");
  return made;
}

}  // namespace

bool built() { return true; }
bool emulated() { return false; }
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
  static cudaStream_t s = make_stream();
  return s;
}
cudaStream_t stream_of(Stream which) {
  if (which == Stream::work) { return stream(); }
  static cudaStream_t s = make_stream();
  return s;
}

void require_launched(cudaError_t error, const char* name) {
  ++launches;
  check(error, "the launch of the kernel ", name);
}

void allow_shared_memory(const void* kernel, size_t bytes, const char* name) {
  REQUIRE(DeviceError, bytes <= shared_memory(), "[cuda] the kernel ", name, " needs ", bytes, " bytes of shared memory in a block, ", describe(),
          " has ", shared_memory(), ". Use a card that has more (A100, H100, B200), or --device cpu");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)), "the launch of the kernel ", name);
}

void* allocate(size_t bytes) {
  void* p = nullptr;
  ++allocations;
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
    ring = static_cast<char*>(allocate_pinned(kRing));
    REQUIRE(OutOfMemory, ring, "[memory] ", kRing >> 20, " MiB of pinned memory are needed for copies to the device");
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
  require_not_recording("a copy from the host");
  if (bytes <= kSmallCopy) { return copy_small_to_device(dst, src, bytes); }
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, stream()), "a copy to the device");
  synchronize();  // src may be pageable and freed by the caller
}
void copy_to_host(void* dst, const void* src, size_t bytes) {
  require_not_recording("a copy to the host");
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, stream()), "a copy to the host");
  synchronize();
}
void copy_on_device(void* dst, const void* src, size_t bytes) {
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream()), "a copy on the device");
}
void synchronize() {
  if (count() == 0) { return; }
  require_not_recording("waiting for the device");
  ++waits;
  check(cudaStreamSynchronize(stream()), "waiting for the device");
}

void in_stream(std::function<void(void*)> work) {
  ++launches;
  work(stream());
}

Counters counters() { return {waits, pauses, allocations, launches, replays}; }

void* allocate_pinned(size_t bytes) {
  void* p = nullptr;
  ++allocations;
  const cudaError_t error = cudaMallocHost(&p, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, "an allocation of pinned memory");
  return p;
}
void release_pinned(void* p) noexcept { cudaFreeHost(p); }

void upload(void* dst, const void* pinned, size_t bytes) {
  check(cudaMemcpyAsync(dst, pinned, bytes, cudaMemcpyHostToDevice, stream_of(Stream::upload)), "a copy to the device");
}
void download(void* pinned, const void* src, size_t bytes) {
  require_not_recording("a copy to the host");
  check(cudaMemcpyAsync(pinned, src, bytes, cudaMemcpyDeviceToHost, stream()), "a copy to the host");
}

struct Event::Place {
  cudaEvent_t event = nullptr;
  ~Place() { cudaEventDestroy(event); }
};
Event::Event() : place_(std::make_unique<Place>()) {
  check(cudaEventCreateWithFlags(&place_->event, cudaEventDisableTiming), "making an event");
}
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
void Event::record(Stream stream) { check(cudaEventRecord(place_->event, stream_of(stream)), "recording an event"); }
void Event::hold(Stream stream) const { check(cudaStreamWaitEvent(stream_of(stream), place_->event, 0), "waiting for an event"); }
bool Event::reached() const {
  const cudaError_t error = cudaEventQuery(place_->event);
  if (error == cudaErrorNotReady) { return false; }
  check(error, "asking for an event");
  return true;
}
void Event::wait() const {
  if (reached()) { return; }
  ++pauses;
  check(cudaEventSynchronize(place_->event), "waiting for an event");
}

struct Graph::Work {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ~Work() {
    if (executable) { cudaGraphExecDestroy(executable); }
    if (graph) { cudaGraphDestroy(graph); }
  }
};
Graph::Graph(std::unique_ptr<Work> work) : work_(std::move(work)) {}
Graph::~Graph() = default;
void Graph::replay() {
  ++replays;
  check(cudaGraphLaunch(work_->executable, stream()), "the launch of a graph");
}
// Relaxed: the caching allocator may ask for memory while it records.
void begin_recording() {
  check(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "recording a graph");
  recording = true;
}
std::unique_ptr<Graph> end_recording() {
  recording = false;
  auto work = std::make_unique<Graph::Work>();
  check(cudaStreamEndCapture(stream(), &work->graph), "recording a graph");
  check(cudaGraphInstantiate(&work->executable, work->graph, 0), "making a graph");
  return std::make_unique<Graph>(std::move(work));
}
void abandon_recording() noexcept {
  recording = false;
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream(), &graph);
  if (graph) { cudaGraphDestroy(graph); }
  cudaGetLastError();
}

}  // namespace pumice::cuda_device
