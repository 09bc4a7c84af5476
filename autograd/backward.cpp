#include <map>
#include <utility>

#include "pumice/autograd/node.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"

namespace pumice {
namespace {

// Whether this pass may write to a gradient: an op may have given one tensor to several inputs, or a view of what others read.
bool may_change(const Tensor& g) { return g.contiguous() && g.sole_owner(); }

Tensor copy_of(const Tensor& t) {
  Tensor copy = empty(t.shape(), t.dtype(), t.device());
  copy_into(copy, t);
  return copy;
}

DType accumulator_dtype(DType leaf) { return leaf == DType::f64 ? DType::f64 : DType::f32; }

Tensor& accumulator_of(Leaf& leaf, const Shape& shape, DType dtype, Device device) {
  if (!leaf.grad.defined()) { leaf.grad = zeros(shape, accumulator_dtype(dtype), device); }
  leaf.reached = true;
  return leaf.grad;
}

}  // namespace

Tensor& GradSink::accumulator() {
  REQUIRE(AutogradError, leaf_, "[backward] accumulator() belongs to leaves; give other inputs a fresh gradient with put()");
  given_ = true;
  return accumulator_of(*leaf_, shape_, dtype_, device_);
}

void GradSink::put(const Tensor& gradient) {
  given_ = true;
  if (!needed_) { return; }
  REQUIRE(ShapeError, gradient.shape() == shape_, "[backward] a gradient must have its input's shape ", shape_, ", got ", gradient.shape());
  REQUIRE(DTypeError, leaf_ || gradient.dtype() == dtype_, "[backward] a gradient must have its input's dtype ", name(dtype_), ", got ",
          name(gradient.dtype()));
  fresh_ = gradient.detach();
}

GradSink::Place GradSink::place() {
  const bool usable = so_far_ && so_far_->defined() && so_far_->dtype() == dtype_ && (!leaf_ || may_change(*so_far_));  // a leaf keeps what others see
  if (!usable) { return {empty(shape_, dtype_, device_), 0}; }
  Tensor sum = std::exchange(*so_far_, {});
  return {may_change(sum) ? sum : copy_of(sum), 1};
}

// One backward pass. Descending creation order is a topological order, so an ordered map is both the queue and the place where
// the gradients of a node's outputs wait for it.
struct Engine {
  struct Pending {
    std::shared_ptr<Node> node;
    std::vector<Tensor> dy;
  };
  std::map<uint64_t, Pending, std::greater<>> queue;

  void deliver(const std::shared_ptr<Node>& node, int output, Tensor g) {
    Pending& p = queue[node->sequence];
    if (!p.node) {
      p.node = node;
      p.dy.resize(node->outputs);
    }
    Tensor& sum = p.dy[output];
    if (!sum.defined()) {
      sum = std::move(g);
      return;
    }
    if (!may_change(sum)) { std::swap(sum, g); }
    if (!may_change(sum)) { sum = copy_of(sum); }
    add_into(sum, g);
  }

  static void deliver(Leaf& leaf, DType dtype, Tensor g) {
    if (!leaf.grad.defined() && g.dtype() == accumulator_dtype(dtype) && may_change(g)) {
      leaf.grad = std::move(g);
      leaf.reached = true;
    } else {
      add_into(accumulator_of(leaf, g.shape(), dtype, g.device()), g);
    }
  }

  void run_one() {
    auto first = queue.begin();
    Pending p = std::move(first->second);
    queue.erase(first);
    Node& node = *p.node;
    REQUIRE(AutogradError, node.backward, "[", node.op, "] this graph was already run backward and its saved tensors are freed; "
            "run the forward pass again");
    std::vector<GradSink> dx(node.inputs.size());
    for (size_t i = 0; i < dx.size(); ++i) {
      const Edge& e = node.inputs[i];
      dx[i].needed_ = e.node || e.leaf;
      dx[i].shape_ = e.shape;
      dx[i].dtype_ = e.dtype;
      dx[i].device_ = e.device;
      dx[i].leaf_ = e.leaf;
      if (e.leaf) { dx[i].so_far_ = &e.leaf->grad; }
      else if (e.node) {
        const auto waiting = queue.find(e.node->sequence);
        if (waiting != queue.end()) { dx[i].so_far_ = &waiting->second.dy[e.output]; }
      }
    }
    {
      Backward f = std::move(node.backward);
      node.backward = nullptr;
      MemoryTag tag(node.op);
      f(p.dy, dx);
    }
    p.dy.clear();
    std::vector<Edge> inputs = std::move(node.inputs);
    node.inputs.clear();
    for (size_t i = 0; i < dx.size(); ++i) {
      if (!dx[i].needed_) { continue; }
      REQUIRE(AutogradError, dx[i].given_, "[", node.op, "] backward gave input ", i, " ", inputs[i].shape,
              " no gradient; it must put() one, add into its accumulator, or skip() it");
      if (!dx[i].fresh_.defined()) { continue; }
      if (value_check_enabled()) { require_finite(node.op, "backward", dx[i].fresh_, {}); }
      if (inputs[i].leaf) { deliver(*inputs[i].leaf, inputs[i].dtype, std::move(dx[i].fresh_)); }
      else { deliver(inputs[i].node, inputs[i].output, std::move(dx[i].fresh_)); }
    }
  }
};

void backward(std::span<const Tensor> outputs, std::span<const Tensor> gradients) {
  REQUIRE(AutogradError, outputs.size() == gradients.size(), "[backward] one gradient per output is required, got ",
          gradients.size(), " for ", outputs.size(), " outputs");
  NoGrad no_grad;
  Engine engine;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!gradients[i].defined()) { continue; }
    REQUIRE(AutogradError, needs_grad(outputs[i]), "[backward] output ", i, " ", outputs[i].shape(),
            " was made from nothing that requires a gradient");
    REQUIRE(ShapeError, gradients[i].shape() == outputs[i].shape(), "[backward] a gradient must have its output's shape ",
            outputs[i].shape(), ", got ", gradients[i].shape());
    const AutogradMeta& meta = *outputs[i].autograd();
    if (meta.leaf) { engine.deliver(*meta.leaf, outputs[i].dtype(), gradients[i].detach()); }
    else { engine.deliver(meta.node, meta.output, gradients[i].detach()); }
  }
  while (!engine.queue.empty()) { engine.run_one(); }
}

void backward(const Tensor& y) {
  REQUIRE(ShapeError, y.size() == 1, "[backward] a scalar is required, got ", y.shape(), ": reduce it with sum() or mean(), or pass its gradient");
  Tensor one = full(y.shape(), 1, y.dtype(), y.device());
  backward({&y, 1}, {&one, 1});
}

}  // namespace pumice
