// The input of a step on its way to the device: many small tensors and a large one, in one copy that runs while the step before is computed.
//
//   Upload upload(device);
//   upload.start(tensors_of_next_step);    // returns at once
//   ... the step before, being launched ...
//   upload.arrive();                       // kernels launched from here on find them: to_device(t) is the copy of each t
//
// They always arrive at the same addresses, if they have the same shapes: a recorded step can be replayed on them.
#pragma once
#include <memory>
#include <vector>

#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

class Upload {
 public:
  explicit Upload(Device device);
  ~Upload();
  // Packed CPU tensors. The host pauses if it is two steps ahead of the device's copies.
  void start(std::vector<Tensor> tensors);
  void arrive();
  // Where tensors arrive has moved so many times, because larger ones came: whatever was recorded before is of no use.
  int64_t moves() const { return moves_; }

 private:
  struct Pinned {  // host memory that a copy is made from
    void* data = nullptr;
    int64_t bytes = 0;
    bool used = false;
    cuda_device::Event copied;
    void grow(int64_t wanted);
    ~Pinned();
  };
  Device device_;
  Pinned pinned_[2];
  int next_ = 0;
  Tensor landing_, input_;  // u8: where copies land beside a step that is computed, and where steps read
  cuda_device::Event taken_;  // the step has what was in landing_
  int64_t moves_ = 0, bytes_ = 0;
  std::vector<Tensor> coming_, here_;
};

}  // namespace pumice
