#include "pumice/tensor/tensor.h"

#include <atomic>
#include <ostream>

#include "pumice/tensor/basic_kernels.h"
#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"

namespace pumice {

const char* name(DType d) {
  switch (d) {
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::f64: return "f64";
    case DType::f16: return "f16";
    case DType::i32: return "i32";
    case DType::i64: return "i64";
    case DType::u8: return "u8";
    case DType::boolean: return "bool";
  }
  return "?";
}

void dtype_not_dispatched(DType d) {
  throw DTypeError(concat_text("[dispatch] a floating-point tensor of f32, bf16 or f64 is required, got ", name(d)));
}

namespace simt {
[[noreturn]] void dtype_has_no_kernel(DType d) {
  throw DTypeError(concat_text("[cuda] kernels compute in f32 and bf16, got ", name(d), "; convert the tensor, or compute on cpu"));
}
}  // namespace simt

std::ostream& operator<<(std::ostream& out, Device d) {
  if (d.kind == Device::kCpu) { return out << "cpu"; }
  return out << "cuda:" << int(d.index);
}

struct Tensor::Storage {
  void* data = nullptr;
  Device device;
  std::shared_ptr<void> owner;  // set for memory that is not ours
  ~Storage() {
    if (!owner) { free_bytes(data, device); }
  }
};

namespace {
std::atomic<int64_t> live{0};
}
Tensor::Impl::Impl() { live.fetch_add(1, std::memory_order_relaxed); }
Tensor::Impl::~Impl() { live.fetch_sub(1, std::memory_order_relaxed); }
int64_t Tensor::live_count() { return live.load(); }

bool Tensor::contiguous() const {
  int64_t step = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape()[i] != 1 && strides()[i] != step) { return size() == 0; }
    step *= shape()[i];
  }
  return true;
}

bool Tensor::sole_owner() const { return impl_.use_count() == 1 && impl_->storage.use_count() == 1 && !impl_->storage->owner; }
void* Tensor::raw() const { return static_cast<char*>(impl_->storage->data) + impl_->offset; }

void* Tensor::typed_data(DType wanted) const {
  REQUIRE(DTypeError, dtype() == wanted, "[data] the tensor ", shape(), " holds ", name(dtype()), ", not ", name(wanted));
  return raw();
}

View Tensor::view() const {
  View v;
  if (!defined()) { return v; }
  v.data = raw();
  v.dtype = dtype();
  v.rank = rank();
  for (int i = 0; i < v.rank; ++i) {
    v.shape[i] = shape()[i];
    v.stride[i] = strides()[i];
  }
  return v;
}

double Tensor::item() const {
  REQUIRE(ShapeError, size() == 1, "[item] a tensor of one element is required, got ", shape());
  return to_vector<double>()[0];
}

Tensor Tensor::detach() const {
  Tensor t = as_strided(shape(), strides(), 0);
  t.impl_->on_device = impl_->on_device;
  return t;
}

Tensor Tensor::as_strided(const Shape& shape, const Shape& strides, int64_t offset) const {
  auto impl = std::make_shared<Impl>();
  impl->storage = impl_->storage;
  impl->offset = impl_->offset + offset * size_of(dtype());
  impl->shape = shape;
  impl->strides = strides;
  impl->dtype = dtype();
  impl->device = device();
  return Tensor(std::move(impl));
}

Tensor Tensor::reshape(const Shape& wanted) const {
  Shape s = wanted;
  int64_t known = 1;
  int free_axis = -1;
  for (int i = 0; i < s.rank(); ++i) {
    if (s[i] == -1) {
      REQUIRE(ShapeError, free_axis < 0, "[reshape] only one axis may be -1, got ", wanted);
      free_axis = i;
    } else {
      known *= s[i];
    }
  }
  if (free_axis >= 0) { s[free_axis] = known ? size() / known : 0; }
  REQUIRE(ShapeError, s.elements() == size(), "[reshape] ", shape(), " has ", size(), " elements, which ", wanted, " cannot hold");
  REQUIRE(ShapeError, contiguous(), "[reshape] a contiguous tensor is required, got ", shape(), " with strides ", strides(), ": use packed() first");
  return as_strided(s, contiguous_strides(s), 0);
}

Tensor Tensor::slice(int axis, int64_t begin, int64_t end) const {
  axis = normalize_axis("slice", axis, rank());
  REQUIRE(ShapeError, 0 <= begin && begin <= end && end <= shape()[axis], "[slice] 0 <= begin <= end <= ", shape()[axis],
          " is required on axis ", axis, " of ", shape(), ", got [", begin, ", ", end, ")");
  Shape s = shape();
  s[axis] = end - begin;
  return as_strided(s, strides(), begin * strides()[axis]);
}

Tensor Tensor::permute(std::span<const int> axes) const {
  REQUIRE(ShapeError, int(axes.size()) == rank(), "[permute] ", rank(), " axes are required for ", shape(), ", got ", axes.size());
  Shape s = shape(), st = shape();
  unsigned seen = 0;
  for (int i = 0; i < rank(); ++i) {
    int a = normalize_axis("permute", axes[i], rank());
    REQUIRE(ShapeError, !(seen >> a & 1), "[permute] each axis once is required, axis ", a, " is repeated");
    seen |= 1u << a;
    s[i] = shape()[a];
    st[i] = strides()[a];
  }
  return as_strided(s, st, 0);
}

Tensor Tensor::transpose(int a, int b) const {
  int axes[kMaxRank];
  for (int i = 0; i < rank(); ++i) { axes[i] = i; }
  std::swap(axes[normalize_axis("transpose", a, rank())], axes[normalize_axis("transpose", b, rank())]);
  return permute({axes, size_t(rank())});
}

Tensor Tensor::expand(const Shape& wanted) const {
  REQUIRE(ShapeError, broadcast_shapes("expand", shape(), wanted) == wanted, "[expand] ", shape(), " cannot expand to ", wanted);
  Shape st = wanted;
  int lead = wanted.rank() - rank();
  for (int i = 0; i < wanted.rank(); ++i) {
    st[i] = i < lead || (shape()[i - lead] == 1 && wanted[i] != 1) ? 0 : strides()[i - lead];
  }
  return as_strided(wanted, st, 0);
}

bool Tensor::same_as(const Tensor& other) const {
  if (!defined() || !other.defined()) { return defined() == other.defined(); }
  return raw() == other.raw() && dtype() == other.dtype() && shape() == other.shape() && strides() == other.strides();
}

const std::shared_ptr<AutogradMeta>& Tensor::autograd() const { return impl_->autograd; }
void Tensor::set_autograd(std::shared_ptr<AutogradMeta> meta) const { impl_->autograd = std::move(meta); }

Tensor empty(const Shape& shape, DType dtype, Device device) {
  int64_t bytes = size_of(dtype);
  for (int64_t d : shape) {
    REQUIRE(ShapeError, d >= 0, "[empty] axis lengths must not be negative, got ", shape);
    REQUIRE(ShapeError, !__builtin_mul_overflow(bytes, d, &bytes), "[empty] ", shape, " of ", name(dtype),
            " has more bytes than an int64 can count");
  }
  if (device.kind == Device::kCuda) { cuda_device::require(device); }
  auto impl = std::make_shared<Tensor::Impl>();
  impl->storage = std::make_shared<Tensor::Storage>();
  impl->storage->data = allocate_bytes(size_t(bytes), device);
  impl->storage->device = device;
  impl->shape = shape;
  impl->strides = contiguous_strides(shape);
  impl->dtype = dtype;
  impl->device = device;
  return Tensor(std::move(impl));
}

Tensor empty_like(const Tensor& t) { return empty(t.shape(), t.dtype(), t.device()); }

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  fill(t, value);
  return t;
}

Tensor zeros(const Shape& shape, DType dtype, Device device) { return full(shape, 0, dtype, device); }

Tensor wrap_external(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner) {
  auto impl = std::make_shared<Tensor::Impl>();
  impl->storage = std::make_shared<Tensor::Storage>();
  impl->storage->data = data;
  impl->storage->owner = std::move(owner);
  impl->shape = shape;
  impl->strides = contiguous_strides(shape);
  impl->dtype = dtype;
  return Tensor(std::move(impl));
}

template <class T> Tensor from_values(const Shape& shape, std::span<const T> values) {
  REQUIRE(ShapeError, int64_t(values.size()) == shape.elements(), "[from_values] ", shape, " holds ", shape.elements(),
          " elements, got ", values.size());
  Tensor t = empty(shape, DTypeOf<T>::value);
  std::copy(values.begin(), values.end(), t.data<T>());
  return t;
}
template Tensor from_values(const Shape&, std::span<const float>);
template Tensor from_values(const Shape&, std::span<const double>);
template Tensor from_values(const Shape&, std::span<const int32_t>);
template Tensor from_values(const Shape&, std::span<const int64_t>);
template Tensor from_values(const Shape&, std::span<const uint8_t>);

template <class T> std::vector<T> Tensor::to_vector() const {
  Tensor converted = packed(to_dtype(to_device(*this, Device::cpu()), DTypeOf<T>::value));
  const T* p = converted.data<T>();
  return std::vector<T>(p, p + size());
}
template std::vector<float> Tensor::to_vector() const;
template std::vector<double> Tensor::to_vector() const;
template std::vector<int32_t> Tensor::to_vector() const;
template std::vector<int64_t> Tensor::to_vector() const;
template std::vector<uint8_t> Tensor::to_vector() const;

void copy_into(const Tensor& dst, const Tensor& src) {
  REQUIRE(ShapeError, dst.shape() == src.shape(), "[copy] equal shapes are required, got ", dst.shape(), " and ", src.shape());
  if (dst.size()) { copy_kernel(dst.device(), {dst, to_device(src, dst.device())}); }
}

void add_into(const Tensor& dst, const Tensor& src) {
  REQUIRE(ShapeError, dst.shape() == src.shape(), "[add_into] equal shapes are required, got ", dst.shape(), " and ", src.shape());
  REQUIRE(DeviceError, dst.device() == src.device(), "[add_into] equal devices are required, got ", dst.device(), " and ", src.device());
  if (dst.size()) { accumulate_kernel(dst.device(), {dst, src}); }
}

void fill(const Tensor& dst, double value) {
  if (dst.size()) { fill_kernel(dst.device(), {dst, value}); }
}

Tensor packed(const Tensor& t) {
  if (t.contiguous()) { return t.detach(); }
  Tensor copy = empty_like(t);
  copy_into(copy, t);
  return copy;
}

Tensor to_device(const Tensor& t, Device device) {
  if (t.device() == device) { return t.detach(); }
  if (t.impl_->on_device && t.impl_->on_device->device == device) { return Tensor(t.impl_->on_device); }
  Tensor source = packed(t), copy = empty(t.shape(), t.dtype(), device);
  const size_t bytes = size_t(t.bytes());
  if (!bytes) { return copy; }
  if (device.kind == Device::kCuda) { cuda_device::copy_to_device(copy.raw(), source.raw(), bytes); }
  else { cuda_device::copy_to_host(copy.raw(), source.raw(), bytes); }
  return copy;
}

Tensor tensor_in(const Tensor& memory, int64_t offset, const Shape& shape, DType dtype) {
  const int64_t bytes = shape.elements() * size_of(dtype);
  REQUIRE(ShapeError, memory.dtype() == DType::u8 && offset >= 0 && offset % size_of(dtype) == 0 && offset + bytes <= memory.size(),
          "[tensor_in] ", shape, " of ", name(dtype), " at byte ", offset, " does not fit in ", memory.shape());
  Tensor t = memory.as_strided(shape, contiguous_strides(shape), offset);
  t.impl_->dtype = dtype;
  return t;
}

void attach_copy(const Tensor& here, const Tensor& there) {
  REQUIRE(ShapeError, here.contiguous() && (!there.defined() || (there.shape() == here.shape() && there.dtype() == here.dtype() && there.contiguous())),
          "[attach_copy] packed tensors of one shape and type are required, got ", here.shape(), " and ", there.defined() ? there.shape() : Shape{});
  here.impl_->on_device = there.defined() ? there.detach().impl_ : nullptr;
}

Tensor to_dtype(const Tensor& t, DType dtype) {
  if (t.dtype() == dtype) { return t.detach(); }
  Tensor copy = empty(t.shape(), dtype, t.device());
  copy_into(copy, t);
  return copy;
}

}  // namespace pumice
