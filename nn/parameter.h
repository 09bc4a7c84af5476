// Parameters: named f32 masters in one flat arena, with their gradients in a second one, so that clipping and the optimizer are
// single passes. Layers hold `Parameter*`; the store owns them.
//
//   ParameterStore store(seed);
//   Scope root(store);
//   Linear head(root / "head", 128, 64);      // makes head.weight and head.bias
//   store.pack();                             // lay the arena out; no parameters can be added after this
//
// A model that is only used needs no arena: its parameters are bound to tensors that lie in a mapped file, each in the type it has there.
//
//   auto store = ParameterStore::make_unfilled();
//   ... layers ...
//   for (auto& p : store->all()) { p->bind(file.load(p->name())); }
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "pumice/autograd/autograd.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

// How a parameter starts. Fans are those of the last two axes (out, in). Slices along a leading axis (experts) are drawn
// independently, or are copies of one draw with repeated().
struct Init {
  enum Kind { kConstant, kNormal, kUniform, kXavierUniform, kLecunNormal } kind = kConstant;
  double value = 0;  // the constant, the standard deviation of kNormal, or the bound of kUniform
  bool repeat_leading_axis = false;
  static Init zeros() { return {}; }
  static Init ones() { return {kConstant, 1}; }
  static Init constant(double v) { return {kConstant, v}; }
  static Init normal(double stddev) { return {kNormal, stddev}; }
  static Init uniform(double bound) { return {kUniform, bound}; }  // U(-bound, bound)
  static Init xavier_uniform() { return {kXavierUniform, 0}; }  // Glorot, Bengio 2010: U(-a, a), a = sqrt(6 / (in + out))
  static Init lecun_normal() { return {kLecunNormal, 0}; }      // truncated normal, variance 1 / in (flax's lecun_normal)
  Init repeated() const { return {kind, value, true}; }
};

class Parameter {
 public:
  Parameter(std::string name, const Shape& shape, DType dtype, bool decay, bool filled);

  const std::string& name() const { return name_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const { return shape_.elements(); }
  bool decay() const { return decay_; }  // whether weight decay applies: matrices yes; norms, biases and scalars no

  // The value to compute with in `dtype`, as a leaf whose gradient lands in the arena (a constant when frozen): the master itself, or a
  // copy in bf16 that is refreshed when the master has changed since. While nothing changes it, several threads may read a parameter.
  Tensor value(DType dtype) const;
  Tensor value() const { return value(dtype_); }
  DType dtype() const { return dtype_; }  // of the master; what layers that compute in f32 whatever the activations ask for

  // Of an unfilled store: the value is `t`, f32, bf16 or f16, which is not copied; or, for a stack along the first axis (experts), one tensor
  // each. value(dtype) is the tensor itself where it has that type, else a converted copy that is kept. Throws ShapeError.
  void bind(const Tensor& t);
  void bind_slices(std::vector<Tensor> slices);
  bool in_slices() const { return !slices_.empty(); }
  Tensor slice(int64_t i, DType dtype) const;  // value(dtype)[i] without making a stack

  // The master, to read, and to write: every mutation goes through change(), which makes the compute copy stale.
  const Tensor& master() const { return master_; }
  const Tensor& change() { ++version_; return master_; }
  // A frozen parameter takes part as a constant: no gradient is computed for it, or for what only it would need.
  bool frozen() const { return frozen_; }
  void freeze() { frozen_ = true; }
  const Leaf& leaf() const { return *leaf_; }
  Leaf& leaf() { return *leaf_; }
  int64_t arena_offset() const { return arena_offset_; }

 private:
  friend class ParameterStore;
  Shape slice_shape() const { return Shape(shape_.begin() + 1, shape_.rank() - 1); }

  std::string name_;
  Shape shape_;
  DType dtype_;
  Tensor master_;  // undefined in an unfilled store
  std::shared_ptr<Leaf> leaf_;
  bool decay_, frozen_ = false;
  int64_t arena_offset_ = 0;
  uint64_t version_ = 1;
  std::vector<Tensor> slices_;
  mutable std::mutex copying_;  // guards what follows
  mutable std::vector<Tensor> slice_copies_;
  mutable Tensor compute_copy_;
  mutable uint64_t copied_version_ = 0;
};

class ParameterStore {
 public:
  // The arena lies on `device` from pack() on. Throws DeviceError if there is no such device.
  explicit ParameterStore(uint64_t seed, DType master = DType::f32, Device device = Device::cpu());
  // Parameters without values, to be bound one by one; there is no arena and no gradient.
  static std::unique_ptr<ParameterStore> make_unfilled();
  bool unfilled() const { return unfilled_; }
  ParameterStore(const ParameterStore&) = delete;
  ParameterStore& operator=(const ParameterStore&) = delete;

  // Throws UsageError if the name exists or the store is packed. Initial values depend on the seed and the name only.
  Parameter* add(const std::string& name, const Shape& shape, const Init& init, bool decay);
  void pack();

  const std::vector<std::unique_ptr<Parameter>>& all() const { return parameters_; }
  Parameter* find(const std::string& name) const;  // null if there is none
  int64_t size() const;                            // elements in total
  int64_t arena_size() const { return masters_.size(); }  // the same with the gaps that align every parameter to 64 bytes; they stay zero
  Device device() const { return device_; }
  const Tensor& masters() const { return masters_; }      // (arena_size()) flat
  const Tensor& gradients() const { return gradients_; }  // (arena_size()) flat
  void zero_gradients();                                   // and forgets which leaves were reached
  void changed();                                          // after an optimizer wrote the flat masters
  // Names of parameters, frozen ones apart, that no backward pass has reached since zero_gradients().
  std::vector<std::string> unreached() const;

 private:
  uint64_t seed_;
  DType dtype_;
  Device device_;
  bool packed_ = false, unfilled_ = false;
  std::vector<std::unique_ptr<Parameter>> parameters_;
  Tensor masters_, gradients_;
};

// A place in the tree of names: `scope / "attention"` is its child.
class Scope {
 public:
  explicit Scope(ParameterStore& store, std::string path = "") : store_(&store), path_(std::move(path)) {}
  Scope operator/(const std::string& child) const { return Scope(*store_, path_.empty() ? child : path_ + "." + child); }
  Parameter* parameter(const std::string& name, const Shape& shape, const Init& init, bool decay) const {
    return store_->add((*this / name).path_, shape, init, decay);
  }
  const std::string& path() const { return path_; }
  Device device() const { return store_->device(); }

 private:
  ParameterStore* store_;
  std::string path_;
};

}  // namespace pumice
