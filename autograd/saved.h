// What a backward pass needs again, kept or made again.
//
// Activations and norms cost little to compute from what they save for their own backward pass anyway. Such an op leaves a recipe with its output, and
// whoever saves that output keeps the recipe in its place: a third of a transformer's saved memory for some hundredths of its time. The bits are
// those of the forward pass. Korthikanti et al. 2022 (arXiv:2205.05198) call it selective recomputation.
#pragma once
#include "pumice/autograd/autograd.h"

namespace pumice {

using Recipe = std::function<Tensor()>;

// y, with how to make it again. The recipe runs kernels, records nothing and must not hold y. Without a graph y is returned as it is.
Tensor remakeable(const Tensor& y, Recipe recipe);

struct RemakeUse;
class Saved {
 public:
  Saved() = default;
  explicit Saved(const Tensor& x);
  // x, detached. Of several that saved one tensor the first one makes it, the last one lets it go; asking one twice may make it twice.
  Tensor get() const;
  bool is_remade() const { return use_ != nullptr; }

 private:
  Tensor kept_;
  std::shared_ptr<RemakeUse> use_;
};

}  // namespace pumice
