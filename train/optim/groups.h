// What a recipe says about some of the parameters: their learning rate, their weight decay, and whether they train at all.
#pragma once
#include <string>
#include <vector>

#include "pumice/nn/parameter.h"

namespace pumice {

struct GroupOptions {
  std::vector<std::string> lr_mult;  // "glob=factor"; of several that match the last one counts
  std::vector<std::string> freeze;   // globs
  std::vector<std::string> decay;    // globs of what weight decay applies to; empty: matrices, not norms, biases and scalars
  double layer_decay = 1;            // the rate of block i of n is times layer_decay^(n - 1 - i), of what stands before block 0 ^n
};

struct ParameterPlan {
  double lr = 1;  // factor on the learning rate
  bool decay = false, frozen = false;
};
// One per parameter, in the store's order. Names are matched whole; '*' stands for any characters, '?' for one.
// Throws UsageError for a glob that matches nothing, with the nearest name, and for a malformed or negative factor.
std::vector<ParameterPlan> plan_parameters(const ParameterStore& parameters, const GroupOptions& options);
// A line per kind of plan that differs from the default: how many parameters and elements; empty if none does.
std::vector<std::string> describe(const std::vector<ParameterPlan>& plan, const ParameterStore& parameters);

bool glob_matches(const std::string& glob, const std::string& text);

}  // namespace pumice
