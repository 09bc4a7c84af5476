// The graph's own types, shared by the .cpp files of autograd/.
#pragma once
#include <cstdint>

#include "pumice/autograd/autograd.h"

namespace pumice {

struct Edge {  // where the gradient of one input goes: a node's output, or a leaf, or nowhere
  std::shared_ptr<Node> node;
  int output = 0;
  std::shared_ptr<Leaf> leaf;
  Shape shape;
  DType dtype = DType::f32;
  Device device;
};

struct Node {
  const char* op = "";
  uint64_t sequence = 0;  // creation order: inputs are always older, so descending order is a topological order
  int outputs = 0;
  std::vector<Edge> inputs;
  Backward backward;
  ~Node();  // iterative: a deep graph must not overflow the C++ stack
};

struct Remake;  // saved.cpp
struct AutogradMeta {
  std::shared_ptr<Node> node;
  int output = 0;
  std::shared_ptr<Leaf> leaf;
  std::shared_ptr<Remake> remake = nullptr;
};

// record() for a function whose parameters are captured rather than passed: the node is made even if no input needs a gradient.
std::vector<Tensor> record_always(const char* op, std::vector<Tensor> outputs, const std::vector<Tensor>& inputs, Backward backward);

void set_grad_enabled(bool enabled);
bool value_check_enabled();
void require_finite(const char* op, const char* what, const Tensor& t, const std::vector<Tensor>& inputs);
void debug_op(const char* op, const std::vector<Tensor>& outputs);  // PUMICE_DEBUG ladder

}  // namespace pumice
