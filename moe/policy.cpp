#include "pumice/moe/policy.h"

#include <algorithm>
#include <cmath>

#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {

int64_t capacity_of(int64_t tokens, int experts, int experts_per_token, const Capacity& capacity) {
  REQUIRE(UsageError, tokens >= 0 && experts >= 1 && experts_per_token >= 1 && experts_per_token <= experts,
          "[capacity] a group needs tokens >= 0 and 1 <= experts per token <= experts, got ", tokens, " tokens, ", experts_per_token,
          " of ", experts, " experts");
  REQUIRE(UsageError, std::isfinite(capacity.factor) && capacity.factor >= 0 && capacity.multiple_of >= 1,
          "[capacity] factor must be a finite number >= 0 (0 drops nothing) and multiple_of >= 1, got factor ", capacity.factor,
          " and multiple_of ", capacity.multiple_of);
  REQUIRE(UsageError, capacity.least >= 0 && capacity.least <= (int64_t(1) << 30), "[capacity] the least number of places must be in [0, 2^30], got ",
          capacity.least);
  if (capacity.factor == 0 || tokens == 0) { return tokens; }
  double places = double(tokens * experts_per_token) * capacity.factor / experts;
  if (capacity.rounding == Capacity::Rounding::ceil_f32) { places = float(double(tokens) / experts) * float(experts_per_token * capacity.factor); }
  REQUIRE(UsageError, places <= 0x1p30, "[capacity] factor ", capacity.factor, " gives ", places,
          " places per expert, more than 2^30: use factor 0 to drop nothing");
  // nearbyint rounds halves to even in the default rounding mode
  int64_t Q = int64_t(capacity.rounding == Capacity::Rounding::round_half_even ? std::nearbyint(places) : std::ceil(places));
  Q = std::max(Q, capacity.least);
  REQUIRE(UsageError, Q >= 1, "[capacity] an expert needs at least 1 place, but ", tokens, " tokens * ", experts_per_token, " choices * factor ",
          capacity.factor, " / ", experts, " experts = ", places, " rounds to ", Q, ": raise the factor, group more tokens, or round up (ceil)");
  return (Q + capacity.multiple_of - 1) / capacity.multiple_of * capacity.multiple_of;
}

void require_valid(const RouterOptions& o) {
  REQUIRE(UsageError, o.experts >= 1, "[router] experts must be at least 1, got ", o.experts);
  REQUIRE(UsageError, o.experts_per_token >= 1 && o.experts_per_token <= o.experts, "[router] experts_per_token must be in 1..", o.experts,
          " (the number of experts), got ", o.experts_per_token);
  REQUIRE(UsageError, std::isfinite(o.noise_std) && o.noise_std >= 0, "[router] noise_std must be a finite number >= 0 (0 turns noise off), got ",
          o.noise_std);
  REQUIRE(UsageError, o.gates == Gates::raw || o.experts_per_token >= 2,
          "[router] renormalised gates need experts_per_token >= 2, got ", o.experts_per_token,
          ": one gate divided by itself is 1 whatever the router says, so the router would never learn; use raw gates");
  REQUIRE(UsageError, o.second == SecondChoice::argmax || o.experts_per_token == 2,
          "[router] a Gumbel second choice needs experts_per_token = 2, got ", o.experts_per_token, ": use argmax");
}

const std::vector<std::string>& gate_names() {
  static const std::vector<std::string> names = {"default", "deepspeed", "paper"};
  return names;
}
const std::vector<std::string>& order_names() {  // as the enumerators stand
  static const std::vector<std::string> names = {"position", "random", "batch_priority"};
  return names;
}
const std::vector<std::string>& second_choice_names() {
  static const std::vector<std::string> names = {"argmax", "gumbel", "gumbel_always"};
  return names;
}
const std::vector<std::string>& gates_names() {
  static const std::vector<std::string> names = {"raw", "renormalised"};
  return names;
}

namespace {

int number_of(const char* what, const std::string& name, const std::vector<std::string>& names) {
  const auto at = std::find(names.begin(), names.end(), name);
  REQUIRE(UsageError, at != names.end(), "[router] ", what, " must be one of ", join(names), ", got '", name, "'", did_you_mean(name, names));
  return int(at - names.begin());
}

}  // namespace

const char* name_of(Order order) { return order_names()[size_t(order)].c_str(); }
const char* name_of(SecondChoice second) { return second_choice_names()[size_t(second)].c_str(); }
const char* name_of(Gates gates) { return gates_names()[size_t(gates)].c_str(); }
Order order_named(const std::string& name) { return Order(number_of("order", name, order_names())); }
SecondChoice second_choice_named(const std::string& name) { return SecondChoice(number_of("second_choice", name, second_choice_names())); }
Gates gates_named(const std::string& name) { return Gates(number_of("gates", name, gates_names())); }

void set_gate(RouterOptions& o, const std::string& name) {
  number_of("gate", name, gate_names());
  const bool one = o.experts_per_token == 1, deepspeed = name == "deepspeed", paper = name == "paper";
  REQUIRE(UsageError, !deepspeed || o.experts_per_token <= 2, "[router] DeepSpeed 0.9.5 sends a token to 1 or 2 experts, got ", o.experts_per_token,
          ": use the gate 'default' or 'paper'");
  o.order = paper ? Order::batch_priority : deepspeed && one ? Order::random : Order::position;
  o.second = deepspeed && !one ? SecondChoice::gumbel_always : SecondChoice::argmax;
  o.gates = paper || one ? Gates::raw : Gates::renormalised;
}

}  // namespace pumice
