#include "pumice/nn/parameter.h"

#include <cmath>

#include "pumice/tensor/cuda_device.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

// Normal of the given deviation cut at two standard deviations and rescaled to keep the variance, as flax's variance_scaling
// does (0.87962566 is the deviation of the cut unit normal).
Tensor truncated_normal(const Shape& shape, double stddev, const RandomKey& key) {
  Tensor t = empty(shape);
  float* p = t.data<float>();
  uint64_t next = uint64_t(shape.elements());  // replacements for rejected draws come from beyond the tensor
  for (int64_t i = 0; i < t.size(); ++i) {
    double x = random_normal(key, uint64_t(i));
    while (std::abs(x) > 2) { x = random_normal(key, next++); }
    p[i] = float(x * stddev / 0.87962566103423978);
  }
  return t;
}

Tensor initial(const Shape& shape, const Init& init, const RandomKey& key) {
  if (init.repeat_leading_axis) {
    Shape one = shape;
    one[0] = 1;
    return initial(one, {init.kind, init.value}, key).expand(shape);
  }
  double in = shape.rank() >= 1 ? double(shape.at(-1)) : 1, out = shape.rank() >= 2 ? double(shape.at(-2)) : 1;
  switch (init.kind) {
    case Init::kNormal: return random_normal_tensor(shape, 0, init.value, key);
    case Init::kUniform: return random_uniform_tensor(shape, -init.value, init.value, key);
    case Init::kXavierUniform: {
      double a = std::sqrt(6 / (in + out));
      return random_uniform_tensor(shape, -a, a, key);
    }
    case Init::kLecunNormal: return truncated_normal(shape, std::sqrt(1 / in), key);
    case Init::kConstant: break;
  }
  return full(shape, init.value);
}

}  // namespace

Parameter::Parameter(std::string name, const Shape& shape, DType dtype, bool decay, bool filled)
    : name_(std::move(name)), shape_(shape), dtype_(dtype), leaf_(std::make_shared<Leaf>()), decay_(decay), frozen_(!filled) {
  if (filled) { master_ = empty(shape, dtype); }
}

Tensor Parameter::value(DType dtype) const {
  REQUIRE(UsageError, master_.defined() || in_slices(), "[", name_, "] has no value yet: bind it");
  if (!in_slices() && dtype == master_.dtype()) { return frozen_ ? master_.detach() : attach_leaf(master_, leaf_); }
  REQUIRE(DTypeError, dtype == DType::bf16 || frozen_, "[", name_, "] parameters compute in their master type ", pumice::name(master_.dtype()),
          " or in bf16, not ", pumice::name(dtype));
  const std::lock_guard lock(copying_);
  const bool another_type = !compute_copy_.defined() || compute_copy_.dtype() != dtype;
  if (copied_version_ != version_ || another_type) {
    MemoryTag tag(dtype == DType::bf16 ? "bf16 weights" : "converted weights");
    if (another_type) { compute_copy_ = empty(shape_, dtype, in_slices() ? slices_[0].device() : master_.device()); }
    if (!in_slices()) { copy_into(compute_copy_, master_); }
    for (size_t i = 0; i < slices_.size(); ++i) { copy_into(compute_copy_.slice(0, int64_t(i), int64_t(i) + 1).reshape(slice_shape()), slices_[i]); }
    copied_version_ = version_;
  }
  return frozen_ ? compute_copy_.detach() : attach_leaf(compute_copy_, leaf_);
}

namespace {

void require_bindable(const std::string& name, const Tensor& t, const Shape& shape) {
  REQUIRE(ShapeError, t.shape() == shape, "[", name, "] a tensor ", shape, " is required, got ", t.shape());
  REQUIRE(DTypeError, t.dtype() == DType::f32 || t.dtype() == DType::bf16 || t.dtype() == DType::f16, "[", name, "] weights are f32, bf16 or f16, got ", pumice::name(t.dtype()));
}

}  // namespace

void Parameter::bind(const Tensor& t) {
  require_bindable(name_, t, shape_);
  master_ = t.detach();
  slices_.clear();
  ++version_;
}

void Parameter::bind_slices(std::vector<Tensor> slices) {
  REQUIRE(ShapeError, int64_t(slices.size()) == shape_[0], "[", name_, "] ", shape_[0], " slices are required, got ", slices.size());
  for (const Tensor& t : slices) { require_bindable(name_, t, slice_shape()); }
  slices_ = std::move(slices);
  slice_copies_.assign(slices_.size(), Tensor());
  ++version_;
}

Tensor Parameter::slice(int64_t i, DType dtype) const {
  if (!in_slices()) { return value(dtype).slice(0, i, i + 1).reshape(slice_shape()); }
  if (slices_[i].dtype() == dtype) { return slices_[i]; }
  const std::lock_guard lock(copying_);
  Tensor& copy = slice_copies_[i];
  if (!copy.defined() || copy.dtype() != dtype) { copy = to_dtype(slices_[i], dtype); }
  return copy;
}

ParameterStore::ParameterStore(uint64_t seed, DType master, Device device) : seed_(seed), dtype_(master), device_(device) {
  if (device.kind == Device::kCuda) { cuda_device::require(device); }
}

std::unique_ptr<ParameterStore> ParameterStore::make_unfilled() {
  auto store = std::make_unique<ParameterStore>(0);
  store->unfilled_ = true;
  return store;
}

Parameter* ParameterStore::add(const std::string& name, const Shape& shape, const Init& init, bool decay) {
  REQUIRE(UsageError, !packed_, "[parameters] '", name, "' is added after pack(); make every layer first");
  REQUIRE(UsageError, !find(name), "[parameters] the name '", name, "' is taken");
  MemoryTag tag("weights");
  parameters_.push_back(std::make_unique<Parameter>(name, shape, dtype_, decay, !unfilled_));
  if (!unfilled_) { copy_into(parameters_.back()->master_, initial(shape, init, {.seed = seed_, .site = site_of(name.c_str())})); }
  return parameters_.back().get();
}

void ParameterStore::pack() {
  REQUIRE(UsageError, !packed_, "[parameters] pack() was already called");
  REQUIRE(UsageError, !unfilled_, "[parameters] an unfilled store has no arena: bind its parameters instead");
  packed_ = true;
  const int64_t step = 64 / size_of(dtype_);
  int64_t offset = 0;
  for (auto& p : parameters_) {
    p->arena_offset_ = offset;
    offset += (p->size() + step - 1) / step * step;
  }
  {
    MemoryTag tag("weights");
    masters_ = zeros({offset}, dtype_, device_);
  }
  MemoryTag tag("gradients");
  gradients_ = zeros({offset}, dtype_, device_);
  for (auto& p : parameters_) {
    Shape strides = contiguous_strides(p->shape());
    Tensor master = masters_.as_strided(p->shape(), strides, p->arena_offset_);
    copy_into(master, p->master_);
    p->master_ = master;
    p->leaf_->grad = gradients_.as_strided(p->shape(), strides, p->arena_offset_);
    ++p->version_;
  }
}

Parameter* ParameterStore::find(const std::string& name) const {
  for (auto& p : parameters_) {
    if (p->name() == name) { return p.get(); }
  }
  return nullptr;
}

int64_t ParameterStore::size() const {
  int64_t n = 0;
  for (auto& p : parameters_) { n += p->size(); }
  return n;
}

void ParameterStore::zero_gradients() {
  fill(gradients_, 0);
  for (auto& p : parameters_) { p->leaf_->reached = false; }
}

void ParameterStore::changed() {
  for (auto& p : parameters_) { p->change(); }
}

std::vector<std::string> ParameterStore::unreached() const {
  std::vector<std::string> names;
  for (auto& p : parameters_) {
    if (!p->frozen() && !p->leaf().reached) { names.push_back(p->name()); }
  }
  return names;
}

}  // namespace pumice
