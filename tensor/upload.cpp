#include "pumice/tensor/upload.h"

#include <cstring>

#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"

namespace pumice {
namespace {

constexpr int64_t kAlign = 256;

int64_t room_of(const Tensor& t) { return (t.bytes() + kAlign - 1) / kAlign * kAlign; }

}  // namespace

void Upload::Pinned::grow(int64_t wanted) {
  if (wanted <= bytes) { return; }
  if (data) { cuda_device::release_pinned(data); }
  bytes = wanted + wanted / 4;  // texts of another length should fit as well
  data = cuda_device::allocate_pinned(size_t(bytes));
  REQUIRE(OutOfMemory, data, "[upload] ", bytes >> 20, " MiB of pinned memory are needed for a batch. Lower --batch-size");
}
Upload::Pinned::~Pinned() {
  if (data) { cuda_device::release_pinned(data); }
}

Upload::Upload(Device device) : device_(device) {}
Upload::~Upload() {
  for (const Tensor& t : here_) { attach_copy(t, Tensor()); }
  for (const Pinned& p : pinned_) {  // nothing may be under way from memory that goes
    try {
      if (p.used) { p.copied.wait(); }
    } catch (const DeviceError&) {}  // a device that has failed reads nothing
  }
}

void Upload::start(std::vector<Tensor> tensors) {
  coming_ = std::move(tensors);
  bytes_ = 0;
  for (const Tensor& t : coming_) { bytes_ += room_of(t); }
  Pinned& from = pinned_[next_];
  next_ = 1 - next_;
  if (from.used) { from.copied.wait(); }
  from.grow(bytes_);
  int64_t at = 0;
  for (const Tensor& t : coming_) {
    REQUIRE(DeviceError, t.device() == Device::cpu() && t.contiguous(), "[upload] packed tensors on cpu are required, got ", t.shape(), " on ", t.device());
    std::memcpy(static_cast<char*>(from.data) + at, t.raw(), size_t(t.bytes()));
    at += room_of(t);
  }
  if (!landing_.defined() || landing_.size() < bytes_) {
    MemoryTag tag("input of a step");
    landing_ = empty({from.bytes}, DType::u8, device_);
    input_ = empty({from.bytes}, DType::u8, device_);
    taken_.record(cuda_device::Stream::work);  // of kernels that had this memory before
    ++moves_;
  }
  taken_.hold(cuda_device::Stream::upload);
  cuda_device::upload(landing_.raw(), from.data, size_t(bytes_));
  from.copied.record(cuda_device::Stream::upload);
  from.used = true;
}

void Upload::arrive() {
  const Pinned& from = pinned_[1 - next_];
  from.copied.hold(cuda_device::Stream::work);
  cuda_device::copy_on_device(input_.raw(), landing_.raw(), size_t(bytes_));
  taken_.record(cuda_device::Stream::work);
  for (const Tensor& t : here_) { attach_copy(t, Tensor()); }
  here_ = std::move(coming_);
  int64_t at = 0;
  for (const Tensor& t : here_) {
    attach_copy(t, tensor_in(input_, at, t.shape(), t.dtype()));
    at += room_of(t);
  }
}

}  // namespace pumice
