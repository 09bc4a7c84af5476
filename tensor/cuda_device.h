// The CUDA device as host code sees it: is one there, its memory, copies, waiting. Three builds of it, chosen by PUMICE_CUDA:
//   cuda_device_off.cpp       no CUDA in this build
//   cuda_device_emulated.cpp  *.cu files compiled for the CPU under the SIMT emulator (tensor/simt/)
//   cuda_device_card.cpp      a card, through the CUDA runtime
// Kernels and most copies go to one stream, in order; copies to the host wait for it, copies to the device have read their source when they return.
// A second stream carries the input of the next step beside them, and work may be recorded and replayed (docs/cuda.md, "A step without waiting").
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "pumice/tensor/device.h"

namespace pumice::cuda_device {

bool built();              // whether this build has CUDA kernels
bool emulated();           // whether they run on the CPU, under the SIMT emulator
int count();               // cards that there are, of which cuda:0 is used; 0 without a card or driver. Never throws
std::string describe();    // one line: the device, or why there is none
size_t shared_memory();    // bytes that one block of a kernel may have: 227 KiB on an H100, 163 on an A100, 99 on a GeForce; 0 without a device
size_t free_memory();      // bytes of the device that nothing holds yet; 0 without one
// Throws DeviceError that says why `device` cannot be used and what to do.
void require(Device device);

// Null when the device has no more memory.
void* allocate(size_t bytes);
void release(void* p) noexcept;
// False where every allocation should be the device's own, so that bounds are exact (checked builds).
bool may_cache();

void copy_to_device(void* dst, const void* src, size_t bytes);
void copy_to_host(void* dst, const void* src, size_t bytes);
void copy_on_device(void* dst, const void* src, size_t bytes);
void synchronize();        // returns when all work is done; throws DeviceError for an error of an earlier kernel

// Calls `work` with the stream of the kernels (a cudaStream_t), in which a library puts kernels of its own. What is recorded calls it again when it is replayed,
// or replays what it put there. Counts as one launch.
void in_stream(std::function<void(void* stream)> work);

// What the host has done since the process began. A training step in its stride adds nothing to waits and allocations.
struct Counters {
  int64_t waits = 0;        // times that the host stopped until the device had done all it was given, and was left without work
  int64_t pauses = 0;       // times that it stopped for an Event: a host that is as far ahead of the device as there is room for does so in every step
  int64_t allocations = 0;  // of device memory and of pinned memory
  int64_t launches = 0;     // of kernels by the host; those of a replayed graph are not counted
  int64_t replays = 0;      // of graphs
};
Counters counters();

// Host memory from and to which copies run beside everything else. Null when there is no more.
void* allocate_pinned(size_t bytes);
void release_pinned(void* p) noexcept;

// Copies that return at once. `pinned` may be written, or read, again when an Event recorded behind the copy has been reached.
void upload(void* dst, const void* pinned, size_t bytes);    // in the upload stream
void download(void* pinned, const void* src, size_t bytes);  // in the stream of the kernels

enum class Stream { work, upload };

// A place in a stream. The emulator lets a copy land only when somebody waits for an event behind it, so that a wait that is missing is seen.
class Event {
 public:
  Event();
  ~Event();
  Event(Event&& other) noexcept;
  void record(Stream stream);      // the place that `stream` has come to
  void hold(Stream stream) const;  // what `stream` is given from now on starts when the place has been reached
  bool reached() const;            // asks, without waiting
  void wait() const;               // stops the host, and counts as a pause, unless the place has been reached

 private:
  struct Place;
  std::unique_ptr<Place> place_;
};

// Kernels and copies on the device that were recorded in place of being run. Arguments are those of the recording: what changes from run to run must
// be read from device memory. Whoever records keeps the memory that was used (StepMemory).
class Graph {
 public:
  struct Work;
  explicit Graph(std::unique_ptr<Work> work);
  ~Graph();
  void replay();  // in the stream of the kernels; returns at once

 private:
  std::unique_ptr<Work> work_;
};
// Between the two, work of this process's device is recorded. Waiting, and copies from or to the host, throw DeviceError there: they cannot be replayed.
void begin_recording();
std::unique_ptr<Graph> end_recording();
void abandon_recording() noexcept;  // after an exception

}  // namespace pumice::cuda_device
