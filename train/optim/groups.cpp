#include "pumice/train/optim/groups.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <tuple>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

// Calls `apply` for the parameters that `glob` names.
template <class F> void for_matches(const ParameterStore& parameters, const std::string& glob, const char* flag, const F& apply) {
  bool any = false;
  std::vector<std::string> names;
  for (size_t i = 0; i < parameters.all().size(); ++i) {
    names.push_back(parameters.all()[i]->name());
    if (glob_matches(glob, names.back())) {
      apply(i);
      any = true;
    }
  }
  REQUIRE(UsageError, any, "[groups] ", flag, " '", glob, "' matches no parameter.", did_you_mean(glob, names), " Names are like '", names[0],
          "' and '", names.back(), "'; pumice model info --tensors lists them");
}

// The number after "blocks." in a name, or -1; `prefix` is what stands before.
int64_t block_of(const std::string& name, std::string& prefix) {
  const size_t at = name.find("blocks.");
  if (at == std::string::npos) { return -1; }
  prefix = name.substr(0, at);
  int64_t block = -1;
  std::from_chars(name.data() + at + 7, name.data() + name.size(), block);
  return block;
}

bool is_stem(const std::string& name) {
  for (const char* stem : {"image.patches.", "image.positions", "image.class_token", "text.words.", "text.positions"}) {
    if (name.rfind(stem, 0) == 0) { return true; }
  }
  return false;
}

void apply_layer_decay(const ParameterStore& parameters, double decay, std::vector<ParameterPlan>& plan) {
  std::map<std::string, int64_t> depth;  // of the tower whose blocks begin with the key
  std::string prefix;
  int64_t deepest = 0;
  for (const auto& p : parameters.all()) {
    const int64_t block = block_of(p->name(), prefix);
    if (block < 0) { continue; }
    depth[prefix] = std::max(depth[prefix], block + 1);
    deepest = std::max(deepest, block + 1);
  }
  for (size_t i = 0; i < plan.size(); ++i) {
    const std::string& name = parameters.all()[i]->name();
    const int64_t block = block_of(name, prefix);
    if (block >= 0) { plan[i].lr *= std::pow(decay, double(depth[prefix] - 1 - block)); }
    else if (is_stem(name)) {
      auto own = depth.find(name.substr(0, name.find('.') + 1));
      plan[i].lr *= std::pow(decay, double(own == depth.end() ? deepest : own->second));
    }
  }
}

}  // namespace

bool glob_matches(const std::string& glob, const std::string& text) {
  size_t g = 0, t = 0, star = std::string::npos, resume = 0;
  while (t < text.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      resume = t;
    } else if (g < glob.size() && (glob[g] == '?' || glob[g] == text[t])) {
      ++g;
      ++t;
    } else if (star != std::string::npos) {  // let the last star take one more character
      g = star + 1;
      t = ++resume;
    } else { return false; }
  }
  while (g < glob.size() && glob[g] == '*') { ++g; }
  return g == glob.size();
}

std::vector<ParameterPlan> plan_parameters(const ParameterStore& parameters, const GroupOptions& options) {
  std::vector<ParameterPlan> plan(parameters.all().size());
  for (size_t i = 0; i < plan.size(); ++i) { plan[i].decay = options.decay.empty() && parameters.all()[i]->decay(); }
  for (const std::string& glob : options.decay) {
    for_matches(parameters, glob, "--wd-mask", [&](size_t i) { plan[i].decay = true; });
  }
  for (const std::string& rule : options.lr_mult) {
    const size_t equals = rule.rfind('=');
    double factor = -1;
    if (equals != std::string::npos) { std::from_chars(rule.data() + equals + 1, rule.data() + rule.size(), factor); }
    REQUIRE(UsageError, factor >= 0 && std::isfinite(factor),
            "[groups] --lr-mult must be GLOB=FACTOR with a factor of at least 0, such as 'text.*=0.1', got '", rule, "'");
    for_matches(parameters, rule.substr(0, equals), "--lr-mult", [&](size_t i) { plan[i].lr = factor; });
  }
  REQUIRE(UsageError, options.layer_decay > 0 && options.layer_decay <= 1, "[groups] --layer-decay must be in (0, 1], got ", options.layer_decay);
  if (options.layer_decay < 1) { apply_layer_decay(parameters, options.layer_decay, plan); }
  for (const std::string& glob : options.freeze) {
    for_matches(parameters, glob, "--freeze", [&](size_t i) { plan[i].frozen = true; });
  }
  REQUIRE(UsageError, std::any_of(plan.begin(), plan.end(), [](const ParameterPlan& p) { return !p.frozen; }),
          "[groups] --freeze leaves no parameter to train");
  return plan;
}

std::vector<std::string> describe(const std::vector<ParameterPlan>& plan, const ParameterStore& parameters) {
  struct Count { int64_t tensors = 0, elements = 0; std::string first; };
  std::map<std::tuple<bool, double>, Count> kinds;
  for (size_t i = 0; i < plan.size(); ++i) {
    Count& c = kinds[{plan[i].frozen, plan[i].frozen ? 0 : plan[i].lr}];
    if (c.tensors++ == 0) { c.first = parameters.all()[i]->name(); }
    c.elements += parameters.all()[i]->size();
  }
  std::vector<std::string> lines;
  for (const auto& [kind, c] : kinds) {
    const auto& [frozen, lr] = kind;
    if (kinds.size() == 1 && !frozen && lr == 1) { break; }
    lines.push_back(concat_text(frozen ? "frozen" : concat_text("learning rate x ", lr), ": ", c.tensors, " parameters, ", c.elements, " elements (",
                                c.first, c.tensors > 1 ? ", ...)" : ")"));
  }
  return lines;
}

}  // namespace pumice
