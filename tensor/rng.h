// The stream of random numbers that the current training step draws from. A trainer opens one RandomScope per step and
// microbatch; modules draw with their own site. Recomputation (autograd/checkpoint.h) restores the scope of the forward pass.
#pragma once
#include "pumice/tensor/philox.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

class RandomScope {
 public:
  explicit RandomScope(const RandomKey& key);  // key.site is ignored
  ~RandomScope();
  RandomScope(const RandomScope&) = delete;
  RandomScope& operator=(const RandomScope&) = delete;

 private:
  RandomKey previous_;
};
RandomKey random_key(uint32_t site);  // the scope in force on this thread, with `site` filled in

// A site id from a module's full name: the same name draws the same numbers in every run.
uint32_t site_of(const char* module_name);

// New f32 tensors from the key's stream, for initialisation. normal: Box-Muller in f64, rounded once.
Tensor random_uniform_tensor(const Shape& shape, double low, double high, const RandomKey& key);
Tensor random_normal_tensor(const Shape& shape, double mean, double stddev, const RandomKey& key);
double random_normal(const RandomKey& key, uint64_t element);

}  // namespace pumice
