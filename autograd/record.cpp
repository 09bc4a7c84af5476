#include <atomic>

#include "pumice/autograd/node.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"

namespace pumice {
namespace {

thread_local bool recording = true;
std::atomic<uint64_t> next_sequence{1};

Edge edge_to(const Tensor& input) {
  Edge e;
  if (!input.defined()) { return e; }
  e.shape = input.shape();
  e.dtype = input.dtype();
  e.device = input.device();
  if (const auto& meta = input.autograd()) {
    e.node = meta->node;
    e.output = meta->output;
    e.leaf = meta->leaf;
  }
  return e;
}

}  // namespace

Node::~Node() {
  static thread_local std::vector<std::shared_ptr<Node>>* draining = nullptr;
  std::vector<std::shared_ptr<Node>> mine;
  for (Edge& e : inputs) {
    if (e.node) { (draining ? *draining : mine).push_back(std::move(e.node)); }
  }
  if (draining) { return; }
  draining = &mine;
  while (!mine.empty()) {
    std::shared_ptr<Node> last = std::move(mine.back());
    mine.pop_back();
    last.reset();
  }
  draining = nullptr;
}

std::vector<Tensor> record_always(const char* op, std::vector<Tensor> outputs, const std::vector<Tensor>& inputs, Backward backward) {
  auto node = std::make_shared<Node>();
  node->op = op;
  node->sequence = next_sequence.fetch_add(1, std::memory_order_relaxed);
  node->outputs = int(outputs.size());
  node->backward = std::move(backward);
  for (const Tensor& x : inputs) { node->inputs.push_back(edge_to(x)); }
  for (int i = 0; i < node->outputs; ++i) {
    if (!is_float(outputs[i].dtype())) { continue; }
    Tensor y = outputs[i].detach();  // a handle of its own: the closure may hold outputs[i]
    y.set_autograd(std::make_shared<AutogradMeta>(AutogradMeta{node, i, nullptr}));
    outputs[i] = std::move(y);
  }
  return outputs;
}

std::vector<Tensor> record(const char* op, std::vector<Tensor> outputs, const std::vector<Tensor>& inputs, Backward backward) {
  if (value_check_enabled()) {
    for (const Tensor& y : outputs) { require_finite(op, "forward", y, inputs); }
  }
  if (flags::debug() > 0) { debug_op(op, outputs); }
  bool wanted = false;
  for (const Tensor& x : inputs) { wanted |= x.defined() && needs_grad(x); }
  if (!wanted || !recording) { return outputs; }
  return record_always(op, std::move(outputs), inputs, std::move(backward));
}

Tensor record(const char* op, Tensor output, const std::vector<Tensor>& inputs, Backward1 backward) {
  return record(op, std::vector<Tensor>{std::move(output)}, inputs,
                [backward = std::move(backward)](std::span<const Tensor> dy, std::span<GradSink> dx) { backward(dy[0], dx); })[0];
}

Tensor record_no_grad(const char* op, Tensor output) {
  if (value_check_enabled()) { require_finite(op, "forward", output, {}); }
  if (flags::debug() > 0) { debug_op(op, {output}); }
  return output;
}

Tensor attach_leaf(const Tensor& t, std::shared_ptr<Leaf> leaf) {
  REQUIRE(DTypeError, is_float(t.dtype()), "[requires_grad] a tensor of f32, bf16 or f64 is required, got ", name(t.dtype()),
          " ", t.shape(), ": integer tensors have no gradient");
  Tensor y = t.detach();
  y.set_autograd(std::make_shared<AutogradMeta>(AutogradMeta{nullptr, 0, std::move(leaf)}));
  return y;
}

Tensor requires_grad(const Tensor& t) { return attach_leaf(t, std::make_shared<Leaf>()); }

bool needs_grad(const Tensor& t) { return t.autograd() != nullptr; }

Tensor grad(const Tensor& leaf) {
  REQUIRE(AutogradError, leaf.autograd() && leaf.autograd()->leaf, "[grad] a leaf made by requires_grad() is required, got ",
          needs_grad(leaf) ? "the result of an op" : "a tensor that requires no gradient");
  return leaf.autograd()->leaf->reached ? leaf.autograd()->leaf->grad : Tensor();
}

NoGrad::NoGrad() : previous_(recording) { recording = false; }
NoGrad::~NoGrad() { recording = previous_; }
bool grad_enabled() { return recording; }
void set_grad_enabled(bool enabled) { recording = enabled; }

}  // namespace pumice
