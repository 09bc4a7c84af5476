// Memory of the CUDA device for the length of one call: partial results between two launches. Freed memory is handed out in stream order, so it
// may be freed while the kernels that use it are still running.
#pragma once
#include "pumice/tensor/memory.h"

namespace pumice::simt {

template <class T> class DeviceScratch {
 public:
  explicit DeviceScratch(int64_t count) : data_(static_cast<T*>(allocate_bytes(size_t(count) * sizeof(T), Device::cuda()))) {}
  ~DeviceScratch() { free_bytes(data_, Device::cuda()); }
  DeviceScratch(const DeviceScratch&) = delete;
  DeviceScratch& operator=(const DeviceScratch&) = delete;
  T* get() const { return data_; }

 private:
  T* data_;
};

}  // namespace pumice::simt
