// The CUDA device as host code sees it: is one there, its memory, copies, waiting. Three builds of it, chosen by PUMICE_CUDA:
//   cuda_device_off.cpp       no CUDA in this build
//   cuda_device_emulated.cpp  *.cu files compiled for the CPU under the SIMT emulator (tensor/simt/)
//   cuda_device_card.cpp      a card, through the CUDA runtime
// All work of the device goes to one stream, in order; copies to the host wait for it, copies to the device have read their source when they return.
#pragma once
#include <cstddef>
#include <string>

#include "pumice/tensor/device.h"

namespace pumice::cuda_device {

bool built();              // whether this build has CUDA kernels
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

}  // namespace pumice::cuda_device
