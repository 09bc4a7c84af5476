// Reverse-mode differentiation over a graph recorded as ops run.
//
//   Tensor w = requires_grad(full({3}, 2.0));
//   Tensor y = sum(mul(w, w));
//   backward(y);
//   grad(w);                                  // (4, 4, 4)
//
// record() is the only way an op's result gets a graph; an op that is differentiable ends in it. Graph nodes point to the nodes
// that made their inputs, never to tensors, so an op may capture its own output without making a cycle.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "pumice/tensor/tensor.h"

namespace pumice {

// Where the gradient of a leaf is summed. A parameter's accumulator is a slice of the optimizer's flat f32 arena.
struct Leaf {
  Tensor grad;           // f32 (f64 for f64 leaves), the leaf's shape; allocated as zeros at the first contribution if undefined
  bool reached = false;  // whether any backward pass has contributed since reset
};

struct Node;
class GradSink {  // one per input of a recorded op
 public:
  bool needed() const { return needed_; }  // skip work that nobody wants
  bool is_leaf() const { return leaf_ != nullptr; }
  // Leaves only: the buffer that kernels ADD into (GEMM beta = 1). Counts as the contribution.
  Tensor& accumulator();
  // A gradient of the input's shape and dtype; on a leaf, of any dtype. A second one is added to it in place where nothing else holds its array, else out
  // of place, so that one tensor may be given to several inputs. Ignored when not needed.
  void put(const Tensor& gradient);
  // For kernels that can add: a packed array that is to become beta * array + gradient before it is put(). Where other ops have given this input something,
  // their sum and beta 1, whoever holds it, so that the order of ops alone decides what is rounded; else, and for a leaf whose sum others hold, a new array and
  // beta 0.
  struct Place { Tensor array; int beta; };
  Place place();
  // States that this input has no gradient in this call (the outputs it reaches were not used).
  void skip() { given_ = true; }

 private:
  friend struct Engine;
  bool needed_ = false, given_ = false;
  Shape shape_;
  DType dtype_ = DType::f32;
  Device device_;
  std::shared_ptr<Leaf> leaf_;
  Tensor* so_far_ = nullptr;  // the sum of what other ops gave
  Tensor fresh_;
};

// dy[i] is the gradient of output i, undefined when nobody used it; at least one is defined.
using Backward = std::function<void(std::span<const Tensor> dy, std::span<GradSink> dx)>;

// Attaches a graph node to fresh `outputs` of `op`, if any input requires a gradient. Capture by name, and only detached tensors,
// small statistics and scalars: the capture list is what is saved for backward.
std::vector<Tensor> record(const char* op, std::vector<Tensor> outputs, const std::vector<Tensor>& inputs, Backward backward);
using Backward1 = std::function<void(const Tensor& dy, std::span<GradSink> dx)>;
Tensor record(const char* op, Tensor output, const std::vector<Tensor>& inputs, Backward1 backward);
// An op that has no gradient by nature (argmax, routing decisions): checks values and debug output, no graph.
Tensor record_no_grad(const char* op, Tensor output);

// t as a leaf with an accumulator of its own. Integer tensors throw DTypeError: they have no gradient by type.
Tensor requires_grad(const Tensor& t);
// The same array as a leaf that sums into `leaf` (several views of one parameter may share it).
Tensor attach_leaf(const Tensor& t, std::shared_ptr<Leaf> leaf);
bool needs_grad(const Tensor& t);   // t is a leaf or was made from one
Tensor grad(const Tensor& leaf);    // undefined if nothing has reached it

// Runs the recorded graph from y, which must be a scalar (dy = 1), or from several outputs with their gradients. Saved tensors
// are freed as it passes; a second pass over the same graph throws AutogradError.
void backward(const Tensor& y);
void backward(std::span<const Tensor> outputs, std::span<const Tensor> gradients);

// While one of these lives on this thread, nothing is recorded.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool previous_;
};
bool grad_enabled();

// While one lives on this thread every op's outputs, forward and backward, are checked: the first NaN or infinity throws
// NumericError naming the op, the element and the ranges of its inputs.
class ValueCheck {
 public:
  ValueCheck();
  ~ValueCheck();
  ValueCheck(const ValueCheck&) = delete;
  ValueCheck& operator=(const ValueCheck&) = delete;

 private:
  bool previous_;
};

// Recomputation (Chen, Xu, Zhang, Guestrin 2016, arXiv:1604.06174): runs `f` without saving anything and runs it again, on the
// same random numbers, when the backward pass arrives. `f` must be a function of its inputs and of parameters only.
using Segment = std::function<std::vector<Tensor>(std::span<const Tensor>)>;
std::vector<Tensor> checkpoint(Segment f, const std::vector<Tensor>& inputs);

}  // namespace pumice
