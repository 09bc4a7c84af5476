#include "pumice/autograd/saved.h"

#include "pumice/autograd/node.h"

namespace pumice {

struct Remake {
  Recipe recipe;
  int uses = 0;  // that have not been served
  Tensor made;   // while more than one is left
};

struct RemakeUse {
  std::shared_ptr<Remake> remake;
  bool served = false;
  explicit RemakeUse(std::shared_ptr<Remake> r) : remake(std::move(r)) { remake->uses += 1; }
  ~RemakeUse() { serve(); }
  void serve() {
    if (!served && --remake->uses == 0) { remake->made = Tensor(); }
    served = true;
  }
};

Tensor remakeable(const Tensor& y, Recipe recipe) {
  const auto& meta = y.autograd();
  if (!meta) { return y; }
  auto with = std::make_shared<AutogradMeta>(*meta);
  with->remake = std::make_shared<Remake>(Remake{std::move(recipe), 0, {}});
  Tensor z = y.detach();
  z.set_autograd(std::move(with));
  return z;
}

Saved::Saved(const Tensor& x) {
  if (x.autograd() && x.autograd()->remake) { use_ = std::make_shared<RemakeUse>(x.autograd()->remake); }
  else { kept_ = x.detach(); }
}

Tensor Saved::get() const {
  if (!use_) { return kept_; }
  Remake& r = *use_->remake;
  NoGrad no_grad;
  Tensor x = r.made.defined() ? r.made : r.recipe();
  if (r.uses > 1 || use_->served) { r.made = r.uses > 0 ? x : Tensor(); }
  use_->serve();
  return x;
}

}  // namespace pumice
