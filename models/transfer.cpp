#include "pumice/models/transfer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

bool starts(const std::string& s, const std::string& prefix) { return s.rfind(prefix, 0) == 0; }

// What a parameter of `to` may be called in `from`, most literal first.
std::vector<std::string> names_in(const ImageTextConfig& from, const ImageTextConfig& to, const std::string& name) {
  std::vector<std::string> names = {name};
  auto is_trunk = [](const std::string& n) { return starts(n, "blocks.") || starts(n, "norm."); };
  if (from.architecture == Architecture::limoe && starts(name, "image.") && is_trunk(name.substr(6))) { names.push_back(name.substr(6)); }
  if (to.architecture == Architecture::limoe && is_trunk(name)) { names.push_back("image." + name); }
  const size_t n = names.size();
  for (size_t i = 0; i < n; ++i) {
    size_t at = names[i].find(".moe.experts.");
    if (at != std::string::npos) { names.push_back(names[i].substr(0, at) + ".mlp." + names[i].substr(at + 13)); }
  }
  return names;
}

// (n * n, C) positions of a square grid as (m * m, C).
Tensor resize_positions(const Tensor& x, int64_t n, int64_t m) {
  const int64_t C = x.dim(1);
  std::vector<double> from = x.to_vector<double>(), to(size_t(m * m * C));
  auto place = [&](int64_t i) { return m > 1 ? double(i) * double(n - 1) / double(m - 1) : double(n - 1) / 2; };
  for (int64_t i = 0; i < m; ++i) {
    const int64_t y = std::min<int64_t>(int64_t(place(i)), std::max<int64_t>(n - 2, 0)), y1 = std::min(y + 1, n - 1);
    for (int64_t j = 0; j < m; ++j) {
      const int64_t c = std::min<int64_t>(int64_t(place(j)), std::max<int64_t>(n - 2, 0)), c1 = std::min(c + 1, n - 1);
      const double v = place(i) - double(y), u = place(j) - double(c);
      for (int64_t k = 0; k < C; ++k) {
        auto at = [&](int64_t a, int64_t b) { return from[size_t((a * n + b) * C + k)]; };
        to[size_t((i * m + j) * C + k)] = (1 - v) * ((1 - u) * at(y, c) + u * at(y, c1)) + v * ((1 - u) * at(y1, c) + u * at(y1, c1));
      }
    }
  }
  return from_values<double>({m * m, C}, to);
}

int64_t square_root(int64_t n) {
  const int64_t r = int64_t(std::lround(std::sqrt(double(n))));
  return r * r == n ? r : -1;
}

bool is_stack_of(const Shape& stack, const Shape& one) {  // (E, ...) of (...)
  if (stack.rank() != one.rank() + 1) { return false; }
  for (int i = 0; i < one.rank(); ++i) {
    if (stack[i + 1] != one[i]) { return false; }
  }
  return true;
}

Tensor expert_of(const Tensor& stack, int64_t e) {
  return stack.slice(0, e, e + 1).reshape(Shape(stack.shape().begin() + 1, stack.rank() - 1));
}

}  // namespace

Transfer transfer_parameters(const ImageTextModel& from, ImageTextModel& to) {
  Transfer done;
  std::set<std::string> taken;
  std::vector<std::string> problems;
  for (const auto& p : to.parameters().all()) {
    const Parameter* source = nullptr;
    for (const std::string& name : names_in(from.config(), to.config(), p->name())) {
      source = from.parameters().find(name);
      if (source) { break; }
    }
    if (!source) {
      done.fresh.push_back(p->name());
      continue;
    }
    taken.insert(source->name());
    if (source->shape() == p->shape()) {
      copy_into(p->change(), source->master());
      ++done.copied;
    } else if (is_stack_of(p->shape(), source->shape())) {
      for (int64_t e = 0; e < p->shape()[0]; ++e) { copy_into(expert_of(p->change(), e), source->master()); }
      done.upcycled.push_back(p->name());
    } else if (p->name() == "image.positions" && source->shape()[1] == p->shape()[1] && square_root(source->shape()[0]) > 0) {
      copy_into(p->change(),
                to_dtype(resize_positions(source->master(), square_root(source->shape()[0]), square_root(p->shape()[0])), p->master().dtype()));
      done.resized.push_back(p->name());
    } else {
      problems.push_back(concat_text(p->name(), ": ", source->shape(), " there, ", p->shape(), " here"));
    }
  }
  for (const auto& p : from.parameters().all()) {
    if (!taken.count(p->name())) { done.unused.push_back(p->name()); }
  }
  const size_t shown = std::min<size_t>(problems.size(), 10);
  REQUIRE(UsageError, problems.empty(), "[transfer] ", problems.size(), " parameters have other sizes than in the model to start from:\n  ",
          join({problems.begin(), problems.begin() + long(shown)}, "\n  "), "\nUse that model's sizes (width, MLP, vocabulary, ...)");
  REQUIRE(UsageError, done.copied + int64_t(done.upcycled.size()) > 0, "[transfer] the model to start from has no parameter that this one needs");
  return done;
}

std::unique_ptr<ImageTextModel> with_experts(const ImageTextModel& model, const std::vector<std::vector<int64_t>>& experts) {
  ImageTextConfig config = model.config();
  const size_t blocks =
      config.dense_twin ? 0 : config.moe_layers.size() + (config.architecture == Architecture::two_tower ? config.text_moe_layers.size() : 0);
  REQUIRE(UsageError, blocks > 0 && experts.size() == blocks, "[with_experts] the model has ", blocks, " sparse blocks, got experts for ",
          experts.size());
  const int64_t E = config.router.experts;
  for (const auto& list : experts) {
    std::set<int64_t> distinct(list.begin(), list.end());
    REQUIRE(UsageError,
            !list.empty() && list.size() == experts[0].size() && distinct.size() == list.size() && *distinct.begin() >= 0 && *distinct.rbegin() < E,
            "[with_experts] every sparse block must keep the same number of different experts in [0, ", E, "), got ", list.size());
  }
  config.router.experts = int(experts[0].size());
  config.router.experts_per_token = std::min(config.router.experts_per_token, config.router.experts);
  config.aux.soft_min_image = config.aux.soft_min_text = 0;
  std::unique_ptr<ImageTextModel> kept = make_model(config, 0, model.parameters().masters().dtype());
  size_t block = 0;
  for (const auto& p : kept->parameters().all()) {
    const Tensor& source = model.parameters().find(p->name())->master();
    if (p->name().find(".moe.") == std::string::npos) {
      copy_into(p->change(), source);
      continue;
    }
    for (size_t i = 0; i < experts[block].size(); ++i) {
      copy_into(p->change().slice(0, int64_t(i), int64_t(i) + 1), source.slice(0, experts[block][i], experts[block][i] + 1));
    }
    if (p->name().size() > 9 && p->name().substr(p->name().size() - 9) == "down.bias") { ++block; }  // the last of a block's five
  }
  return kept;
}

}  // namespace pumice
