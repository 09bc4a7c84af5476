// Routing policies: plain values, not subclasses. Axis letters of the moe/ folder, one meaning everywhere:
//   G groups   S tokens per group   T all tokens   E experts   K experts per token   Q capacity   R dispatched rows   C width
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace pumice {

// Who claims a place in an expert's buffer first. Within one order all first choices come before all second choices.
enum class Order {
  position,        // earlier tokens first: whatever stands last in the group is dropped first
  random,          // a permutation per group and step
  batch_priority,  // largest gate first (Riquelme et al. 2021, arXiv:2106.05974, "batch prioritized routing"); ties by position
};

// Places per expert and group: ceil(tokens * K * factor / E), then up to a multiple (V-MoE, vmoe/moe.py compute_capacity).
struct Capacity {
  enum class Rounding { ceil, round_half_even, ceil_f32 };  // ceil_f32: of a product in f32, as DeepSpeed rounds, now and then one place apart
  double factor = 1.05;  // 0: dropless, every choice is kept
  Rounding rounding = Rounding::ceil;
  int multiple_of = 4;   // 1: as computed
  int64_t least = 0;     // at least this many places (DeepSpeed's min_capacity)

  static Capacity dropless() { return {.factor = 0}; }
};
// `tokens` >= 0 of one group. Dropless gives `tokens`: no expert can be chosen more often than once per token.
// Throws UsageError if a setting is out of range, or if the formula leaves less than one place.
int64_t capacity_of(int64_t tokens, int experts, int experts_per_token, const Capacity& capacity);

// What a kept choice is multiplied with. raw: its probability. renormalised: its probability over the sum of the token's kept
// choices, so that the gates of a token sum to 1, or to 0 when all are dropped (DeepSpeed's top-2 gate).
enum class Gates { raw, renormalised };

// How the second expert of K = 2 is found. gumbel: argmax of logits + Gumbel(0, 1) noise without the first choice, while training;
// gumbel_always: at evaluation too (DeepSpeed 0.9.5, which is why its evaluations do not repeat).
enum class SecondChoice { argmax, gumbel, gumbel_always };

struct RouterOptions {
  int experts = 8;            // E
  int experts_per_token = 1;  // K
  Order order = Order::batch_priority;
  Capacity train, eval;
  Gates gates = Gates::raw;
  SecondChoice second = SecondChoice::argmax;
  double noise_std = 1;       // while training, logits + N(0, (noise_std / E)^2); 0: no noise
};
// Throws UsageError naming the option that is out of range or does not fit the others.
void require_valid(const RouterOptions& options);

// Order, second choice and gates of known routers, by name; everything else of `options` stays.
//   default    position order, the second most probable expert, gates renormalised where there are several: an answer repeats
//   deepspeed  DeepSpeed 0.9.5 (sharded_moe.py): of one expert per token random order and the raw gate; of two position order, Gumbel noise on
//              the second choice at evaluation too, and renormalised gates
//   paper      MoE-LLaVA (arXiv:2401.15947, equations 4 to 6 and appendix B.2): batch priority, the most probable experts, their probabilities
// Throws UsageError for another name, and for deepspeed with more than two experts per token, which it cannot do.
void set_gate(RouterOptions& options, const std::string& name);

// The names of the choices in flags and files. *_named() throws UsageError for another, and says which there are.
const char* name_of(Order order);            // position, random, batch_priority
const char* name_of(SecondChoice second);    // argmax, gumbel, gumbel_always
const char* name_of(Gates gates);            // raw, renormalised
Order order_named(const std::string& name);
SecondChoice second_choice_named(const std::string& name);
Gates gates_named(const std::string& name);
const std::vector<std::string>& gate_names();           // of set_gate()
const std::vector<std::string>& order_names();
const std::vector<std::string>& second_choice_names();
const std::vector<std::string>& gates_names();

}  // namespace pumice
