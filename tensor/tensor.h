// Tensor: a handle to a strided array. Copying a Tensor shares the array. Row-major; the last axis is the fastest.
//
//   Tensor x = zeros({2, 3});                       // f32 on the CPU
//   float* p = x.data<float>();                     // throws DTypeError if x is not f32
//   Tensor row = x.slice(0, 1, 2).detach();         // metadata only; shares x's array
//
// Nothing in tensor/ knows gradients: a Tensor carries one opaque AutogradMeta that autograd/ defines. The view methods here
// (slice, permute, ...) return tensors without a graph; the differentiable forms are the ops of the same names in ops/index/.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "pumice/tensor/device.h"
#include "pumice/tensor/dtype.h"
#include "pumice/tensor/shape.h"
#include "pumice/tensor/view.h"

namespace pumice {

struct AutogradMeta;

class Tensor {
 public:
  Tensor() = default;  // undefined: an optional operand that is absent
  bool defined() const { return impl_ != nullptr; }

  const Shape& shape() const { return impl_->shape; }
  const Shape& strides() const { return impl_->strides; }  // in elements
  int rank() const { return impl_->shape.rank(); }
  int64_t dim(int axis) const { return impl_->shape.at(axis); }
  int64_t size() const { return impl_->shape.elements(); }
  int64_t bytes() const { return size() * size_of(dtype()); }
  DType dtype() const { return impl_->dtype; }
  Device device() const { return impl_->device; }
  bool contiguous() const;

  // On a cuda tensor these are device addresses: only kernels may follow them.
  template <class T> T* data() const { return static_cast<T*>(typed_data(DTypeOf<T>::value)); }
  void* raw() const;
  View view() const;
  operator View() const { return view(); }  // an undefined Tensor becomes an empty View

  // The only element, as a double. Throws ShapeError unless size() == 1.
  double item() const;
  // All elements in row-major order, converted. For tests, logs and small host-side decisions.
  template <class T> std::vector<T> to_vector() const;

  // Metadata-only views, without a graph.
  Tensor detach() const;
  Tensor reshape(const Shape& shape) const;  // one axis may be -1; needs a contiguous tensor
  Tensor slice(int axis, int64_t begin, int64_t end) const;
  Tensor permute(std::span<const int> axes) const;
  Tensor transpose(int a, int b) const;
  Tensor expand(const Shape& shape) const;  // stride 0 along axes of length 1
  Tensor as_strided(const Shape& shape, const Shape& strides, int64_t offset) const;  // offset in elements from this view's start

  // Whether both handles name the same array elements (start, shape and strides).
  bool same_as(const Tensor& other) const;
  long use_count() const { return impl_.use_count(); }
  bool sole_owner() const;  // whether no other tensor shares this handle or its storage, which is not wrap_external's
  const std::shared_ptr<AutogradMeta>& autograd() const;
  void set_autograd(std::shared_ptr<AutogradMeta> meta) const;

  // Tensors alive in this process, for leak checks.
  static int64_t live_count();

 private:
  struct Storage;
  struct Impl {
    Impl();
    ~Impl();
    Impl(const Impl&) = delete;
    std::shared_ptr<Storage> storage;
    int64_t offset = 0;  // bytes
    Shape shape, strides;
    DType dtype = DType::f32;
    Device device;
    std::shared_ptr<AutogradMeta> autograd;
    std::shared_ptr<Impl> on_device;  // see attach_copy()
  };
  explicit Tensor(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  void* typed_data(DType wanted) const;
  std::shared_ptr<Impl> impl_;

  friend Tensor empty(const Shape&, DType, Device);
  friend Tensor wrap_external(void*, const Shape&, DType, std::shared_ptr<void>);
  friend Tensor tensor_in(const Tensor&, int64_t, const Shape&, DType);
  friend void attach_copy(const Tensor&, const Tensor&);
  friend Tensor to_device(const Tensor&, Device);
};

Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
Tensor empty_like(const Tensor& t);
Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = Device::cpu());
// Copies `values` (row-major, size must match the shape) into a new tensor of type T.
template <class T> Tensor from_values(const Shape& shape, std::span<const T> values);
template <class T> Tensor from_values(const Shape& shape, const std::vector<T>& values) {
  return from_values(shape, std::span<const T>(values));
}
// A tensor over memory that `owner` keeps alive (a mapped file).
Tensor wrap_external(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner);

// dst = src, converting dtype; shapes equal, strides free, from any device. No gradient.
void copy_into(const Tensor& dst, const Tensor& src);
// dst += src, converting dtype; shapes equal.
void add_into(const Tensor& dst, const Tensor& src);
void fill(const Tensor& dst, double value);
// t itself if it is contiguous, else a packed copy. No gradient.
Tensor packed(const Tensor& t);
// The same values on another device, packed (t itself if it is there already). No gradient. Throws DeviceError, OutOfMemory.
Tensor to_device(const Tensor& t, Device device);
// A packed tensor over part of the u8 tensor `memory`, from byte `offset` on, which must be aligned to the type.
Tensor tensor_in(const Tensor& memory, int64_t offset, const Shape& shape, DType dtype);
// Tells `here`, packed on the CPU, that `there` holds its values on a device: to_device(here) is `there` from then on, and copies nothing. For small
// integers that every layer of a step reads. An undefined `there` ends it.
void attach_copy(const Tensor& here, const Tensor& there);
Tensor to_dtype(const Tensor& t, DType dtype);  // a converted copy (t itself if it has the dtype). No gradient.

}  // namespace pumice
