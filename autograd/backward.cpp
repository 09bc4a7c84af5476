#include <map>

#include "pumice/autograd/node.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/memory.h"

namespace pumice {
namespace {

Tensor& accumulator_of(Leaf& leaf, const Shape& shape, DType dtype, Device device) {
  if (!leaf.grad.defined()) { leaf.grad = zeros(shape, dtype == DType::f64 ? DType::f64 : DType::f32, device); }
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
  if (leaf_) {
    add_into(accumulator(), gradient);
    return;
  }
  REQUIRE(DTypeError, gradient.dtype() == dtype_, "[backward] a gradient must have its input's dtype ", name(dtype_), ", got ", name(gradient.dtype()));
  fresh_ = gradient.detach();
}

// One backward pass. Descending creation order is a topological order, so an ordered map is both the queue and the place where
// the gradients of a node's outputs wait for it.
struct Engine {
  struct Slot {
    Tensor value;
    bool own = false;  // a sum that this pass made and may add to; a gradient that arrived may be shared
  };
  struct Pending {
    std::shared_ptr<Node> node;
    std::vector<Slot> dy;
  };
  std::map<uint64_t, Pending, std::greater<>> queue;

  void deliver(const std::shared_ptr<Node>& node, int output, const Tensor& g) {
    Pending& p = queue[node->sequence];
    if (!p.node) {
      p.node = node;
      p.dy.resize(node->outputs);
    }
    Slot& slot = p.dy[output];
    if (!slot.value.defined()) {
      slot.value = g;
      return;
    }
    if (!slot.own) {
      Tensor sum = empty(g.shape(), g.dtype(), g.device());
      copy_into(sum, slot.value);
      slot = {sum, true};
    }
    add_into(slot.value, g);
  }

  void run_one() {
    auto first = queue.begin();
    Pending p = std::move(first->second);
    queue.erase(first);
    Node& node = *p.node;
    REQUIRE(AutogradError, node.backward, "[", node.op, "] this graph was already run backward and its saved tensors are freed; "
            "run the forward pass again");
    std::vector<Tensor> dy;
    for (Slot& s : p.dy) { dy.push_back(std::move(s.value)); }
    std::vector<GradSink> dx(node.inputs.size());
    for (size_t i = 0; i < dx.size(); ++i) {
      const Edge& e = node.inputs[i];
      dx[i].needed_ = e.node || e.leaf;
      dx[i].shape_ = e.shape;
      dx[i].dtype_ = e.dtype;
      dx[i].device_ = e.device;
      dx[i].leaf_ = e.leaf;
    }
    {
      Backward f = std::move(node.backward);
      node.backward = nullptr;
      MemoryTag tag(node.op);
      f(dy, dx);
    }
    dy.clear();
    std::vector<Edge> inputs = std::move(node.inputs);
    node.inputs.clear();
    for (size_t i = 0; i < dx.size(); ++i) {
      if (!dx[i].needed_) { continue; }
      REQUIRE(AutogradError, dx[i].given_, "[", node.op, "] backward gave input ", i, " ", inputs[i].shape,
              " no gradient; it must put() one, add into its accumulator, or skip() it");
      if (!dx[i].fresh_.defined()) { continue; }
      if (value_check_enabled()) { require_finite(node.op, "backward", dx[i].fresh_, {}); }
      deliver(inputs[i].node, inputs[i].output, dx[i].fresh_);
      dx[i].fresh_ = Tensor();
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
    if (meta.leaf) { add_into(accumulator_of(*meta.leaf, outputs[i].shape(), outputs[i].dtype(), outputs[i].device()), gradients[i]); }
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
