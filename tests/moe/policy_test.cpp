// Routers by name: what each of them is, and that names and choices are each other's inverse.
#include "pumice/moe/policy.h"

#include <gtest/gtest.h>

#include "../message_of.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

using testing::message_of;

RouterOptions gate(const std::string& name, int experts_per_token) {
  RouterOptions o{.experts = 8, .experts_per_token = experts_per_token, .order = Order::random, .gates = Gates::raw, .second = SecondChoice::gumbel};
  set_gate(o, name);
  return o;
}

TEST(Policy, RoutersByName) {
  struct Known {
    const char* name;
    int experts_per_token;
    Order order;
    SecondChoice second;
    Gates gates;
  };
  for (const Known& k : {Known{"default", 1, Order::position, SecondChoice::argmax, Gates::raw},
                         {"default", 2, Order::position, SecondChoice::argmax, Gates::renormalised},
                         {"default", 4, Order::position, SecondChoice::argmax, Gates::renormalised},
                         {"deepspeed", 1, Order::random, SecondChoice::argmax, Gates::raw},
                         {"deepspeed", 2, Order::position, SecondChoice::gumbel_always, Gates::renormalised},
                         {"paper", 1, Order::batch_priority, SecondChoice::argmax, Gates::raw},
                         {"paper", 2, Order::batch_priority, SecondChoice::argmax, Gates::raw}}) {
    const RouterOptions o = gate(k.name, k.experts_per_token);
    EXPECT_TRUE(o.order == k.order && o.second == k.second && o.gates == k.gates)
        << k.name << " of " << k.experts_per_token << ": " << name_of(o.order) << ", " << name_of(o.second) << ", " << name_of(o.gates);
    require_valid(o);
  }
}

TEST(Policy, WhatIsNotSaidStays) {
  RouterOptions o{.experts = 6, .experts_per_token = 2, .train = {.factor = 1.25, .multiple_of = 8}, .eval = {.factor = 0}, .noise_std = 0.5};
  set_gate(o, "paper");
  EXPECT_TRUE(o.experts == 6 && o.experts_per_token == 2 && o.train.factor == 1.25 && o.train.multiple_of == 8 && o.eval.factor == 0 && o.noise_std == 0.5);
}

TEST(Policy, NamesAreInverses) {
  for (const std::string& name : order_names()) { EXPECT_EQ(name_of(order_named(name)), name); }
  for (const std::string& name : second_choice_names()) { EXPECT_EQ(name_of(second_choice_named(name)), name); }
  for (const std::string& name : gates_names()) { EXPECT_EQ(name_of(gates_named(name)), name); }
  EXPECT_EQ(order_names().size() + second_choice_names().size() + gates_names().size(), 8u);
  for (const std::string& name : gate_names()) { gate(name, 2); }
}

TEST(Policy, OtherNamesAreErrors) {
  const auto expect = [](const std::string& message, const char* says) { EXPECT_NE(message.find(says), std::string::npos) << message; };
  expect(message_of<UsageError>([] { gate("deepsped", 2); }), "deepspeed");
  expect(message_of<UsageError>([] { gate("deepspeed", 3); }), "DeepSpeed 0.9.5 sends a token to 1 or 2 experts, got 3");
  expect(message_of<UsageError>([] { order_named("randm"); }), "order must be one of position, random, batch_priority, got 'randm'");
  expect(message_of<UsageError>([] { second_choice_named(""); }), "argmax, gumbel, gumbel_always");
  expect(message_of<UsageError>([] { gates_named("softmax"); }), "raw, renormalised");
}

}  // namespace
}  // namespace pumice
