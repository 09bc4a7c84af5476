// The gates of DeepSpeed 0.9.5, on which MoE-LLaVA stands (tests/oracle/make_moe_fixtures.py): capacity, who keeps a place, combine weights,
// balance loss, and the gradients of both, for drawn Gumbel noise (top-2) and drawn priorities (top-1's random token selection).
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "pumice/autograd/autograd.h"
#include "pumice/moe/gating.h"
#include "pumice/moe/losses.h"
#include "pumice/moe/routing.h"
#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/reduce/reduce.h"
#include "pumice/tensor/safetensors.h"

namespace pumice {
namespace {

struct Case {
  std::string name;
  int64_t S, E;
  int K;
  Capacity capacity;
  int64_t places;
};

const SafetensorsFile& fixture() {
  static const SafetensorsFile file = SafetensorsFile::open(PUMICE_FIXTURES "/moe/fixtures/deepspeed_gate.safetensors");
  return file;
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const std::string& name : fixture().names()) {
    const size_t end = name.find("/settings");
    if (end == std::string::npos) { continue; }
    Case c{.name = name.substr(0, end)};
    const std::vector<double> s = fixture().load(name).to_vector<double>();
    const Shape logits = fixture().shape(c.name + "/logits");
    c.S = logits[0];
    c.E = logits[1];
    c.K = int(s[0]);
    c.capacity = {.factor = s[1], .rounding = Capacity::Rounding::ceil_f32, .multiple_of = 1, .least = int64_t(s[2])};
    c.places = int64_t(s[3]);
    cases.push_back(c);
  }
  return cases;
}

Tensor load(const Case& c, const char* what) { return fixture().load(c.name + "/" + what); }

void expect_near(const Tensor& got, const Tensor& want, const std::string& what) {
  const std::vector<double> a = got.to_vector<double>(), b = want.to_vector<double>();
  ASSERT_EQ(a.size(), b.size()) << what;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) { worst = std::max(worst, std::abs(a[i] - b[i])); }
  EXPECT_LT(worst, 1e-6) << what;
}

// What the noise chose, as a routing: the parts of route_with_noise() with the draws of the file in place of our own.
Routing route_as_drawn(const Tensor& logits, const Case& c) {
  TokenGroups groups{.offsets = {0, c.S}, .modality = full({c.S}, 1, DType::u8)};
  Gating g = gate_tokens(logits, Tensor(), c.K == 2 ? load(c, "gumbel") : Tensor(), c.K);
  Routing r{.groups = groups, .logits = logits, .noisy_logits = g.noisy, .lse = g.lse, .noisy_lse = g.noisy_lse, .clean_probs = g.clean, .probs = g.probs,
            .expert = g.expert};
  r.capacity = {capacity_of(c.S, int(c.E), c.K, c.capacity)};
  Tensor priority = g.gate;
  if (c.K == 1) {  // the draw of the token at its expert
    const std::vector<float> u = load(c, "uniform").to_vector<float>();
    const std::vector<int32_t> expert = g.expert.to_vector<int32_t>();
    std::vector<float> own(c.S);
    for (int64_t s = 0; s < c.S; ++s) { own[s] = u[s * c.E + expert[s]]; }
    priority = from_values<float>({c.S, 1}, own);
  }
  Assignment a = assign_slots(g.expert, priority, groups, int(c.E), r.capacity, c.K == 1 ? Order::batch_priority : Order::position, {});
  r.slot = a.slot;
  r.row = a.row;
  r.token_of_row = a.token_of_row;
  r.expert_offsets = a.expert_offsets;
  r.gate = c.K == 1 ? g.gate : renormalise_kept(g.gate, a.row);
  return r;
}

TEST(DeepSpeedGate, CapacityCombineWeightsLossAndGradients) {
  const std::vector<Case> cases = all_cases();
  ASSERT_GE(cases.size(), 4u);
  std::set<int> choices;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    choices.insert(c.K);
    Tensor logits = requires_grad(load(c, "logits"));
    Routing r = route_as_drawn(logits, c);
    EXPECT_EQ(r.capacity[0], c.places);

    // combine (S, E), and the gradient of <combine, cotangent> through the gates of kept choices
    const std::vector<int32_t> expert = r.expert.to_vector<int32_t>(), row = r.row.to_vector<int32_t>(), wanted = load(c, "expert").to_vector<int32_t>();
    const std::vector<float> gate = r.gate.to_vector<float>(), cotangent = load(c, "cotangent").to_vector<float>();
    std::vector<float> combine(c.S * c.E), weights(expert.size());
    for (size_t i = 0; i < expert.size(); ++i) {
      EXPECT_EQ(row[i] < 0 ? -1 : expert[i], wanted[i]) << "choice " << i;
      if (row[i] < 0) { continue; }
      const size_t at = i / size_t(c.K) * size_t(c.E) + size_t(expert[i]);
      combine[at] += gate[i];
      weights[i] = cotangent[at];
    }
    expect_near(from_values<float>({c.S, c.E}, combine), load(c, "combine"), "combine");
    backward(sum(mul(r.gate, from_values<float>({c.S, c.K}, weights))));
    expect_near(grad(logits), load(c, "dcombine"), "dcombine");

    Tensor again = requires_grad(load(c, "logits"));
    AuxLosses aux = auxiliary_losses(route_as_drawn(again, c), {.weight = 1, .losses = {AuxLoss::balance}});
    expect_near(aux.total, load(c, "l_aux"), "l_aux");
    backward(aux.total);
    expect_near(grad(again), load(c, "dl_aux"), "dl_aux");
  }
  EXPECT_EQ(choices, (std::set<int>{1, 2}));
}

}  // namespace
}  // namespace pumice
