#include "pumice/autograd/node.h"
#include "pumice/tensor/rng.h"

namespace pumice {
namespace {

class EnableGrad {  // the backward pass runs under NoGrad; recomputation must record
 public:
  EnableGrad() : previous_(grad_enabled()) { set_grad_enabled(true); }
  ~EnableGrad() { set_grad_enabled(previous_); }

 private:
  bool previous_;
};

}  // namespace

std::vector<Tensor> checkpoint(Segment f, const std::vector<Tensor>& inputs) {
  if (!grad_enabled()) { return f(inputs); }
  std::vector<Tensor> saved, outputs;
  for (const Tensor& x : inputs) { saved.push_back(x.defined() ? x.detach() : Tensor()); }
  {
    NoGrad no_grad;
    outputs = f(saved);
  }
  RandomKey key = random_key(0);
  return record_always("checkpoint", outputs, inputs, [f = std::move(f), saved, key](std::span<const Tensor> dy, std::span<GradSink> dx) {
    RandomScope scope(key);
    std::vector<Tensor> leaves = saved;
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (dx[i].needed()) { leaves[i] = requires_grad(saved[i]); }
    }
    std::vector<Tensor> again;
    {
      EnableGrad enable;
      again = f(leaves);
    }
    // An output that does not depend on anything trainable has no graph to run.
    std::vector<Tensor> outputs, gradients;
    for (size_t i = 0; i < again.size(); ++i) {
      if (dy[i].defined() && needs_grad(again[i])) {
        outputs.push_back(again[i]);
        gradients.push_back(dy[i]);
      }
    }
    again.clear();
    backward(outputs, gradients);
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (!dx[i].needed()) { continue; }
      Tensor g = grad(leaves[i]);
      if (g.defined()) { dx[i].put(to_dtype(g, leaves[i].dtype())); }
      else { dx[i].skip(); }
    }
  });
}

}  // namespace pumice
