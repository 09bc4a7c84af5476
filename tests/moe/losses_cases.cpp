// Every auxiliary loss and its closed-form gradient against plain loops over groups.
#include <cmath>

#include "pumice/moe/router_losses.h"
#include "pumice/tensor/error.h"
#include "../op_case.h"
#include "routing_fixture.h"

namespace pumice::testing {
namespace {

using Doubles = std::vector<double>;

struct Setting {
  int64_t E, K;
  std::vector<int64_t> offsets;
  int64_t text;  // tokens at the end of each group
  LossScope scope = LossScope::group;
};
constexpr double kSigma = 0.3;

// One group's tokens in double, and what the reference of each loss sees of them.
struct Group {
  std::vector<Doubles> p, z, noisy;
  int64_t E, K;
};
double sum(const Doubles& x) {
  double s = 0;
  for (double v : x) { s += v; }
  return s;
}
double squared_variation(const Doubles& x) {
  double mean = sum(x) / double(x.size()), variance = 0;
  for (double v : x) { variance += (v - mean) * (v - mean) / double(x.size()); }
  return variance / mean / mean;
}
double entropy(const Doubles& p) {
  double h = 0;
  for (double v : p) { h -= v > 0 ? v * std::log(v) : 0; }
  return h;
}
Doubles mean_of(const std::vector<Doubles>& rows) {
  Doubles mean(rows[0].size());
  for (const Doubles& row : rows) {
    for (size_t e = 0; e < row.size(); ++e) { mean[e] += row[e] / double(rows.size()); }
  }
  return mean;
}

double importance(const Group& g) { return squared_variation(mean_of(g.p)); }
double z_of(const Group& g) {
  double mean = 0;
  for (const Doubles& z : g.z) {
    double exps = 0;
    for (double v : z) { exps += std::exp(v); }
    mean += std::pow(std::log(exps), 2) / double(g.z.size());
  }
  return mean;
}
double load(const Group& g) {
  std::vector<Doubles> q;
  for (size_t i = 0; i < g.z.size(); ++i) {
    Doubles sorted = g.noisy[i], row;
    std::sort(sorted.rbegin(), sorted.rend());
    for (double z : g.z[i]) { row.push_back(0.5 * std::erfc((sorted[size_t(g.K - 1)] - z) / kSigma / std::sqrt(2.0))); }
    q.push_back(row);
  }
  return squared_variation(mean_of(q));
}
double balance(const Group& g) {
  Doubles f(size_t(g.E)), P = mean_of(g.p);
  for (const Doubles& p : g.p) { f[size_t(std::max_element(p.begin(), p.end()) - p.begin())] += 1 / double(g.p.size()); }
  double dot = 0;
  for (size_t e = 0; e < f.size(); ++e) { dot += f[e] * P[e]; }
  return double(g.E) * dot;
}
double local(const Group& g) {
  double mean = 0;
  for (const Doubles& p : g.p) { mean += entropy(p) / double(g.p.size()); }
  return mean;
}
double global(const Group& g) { return std::max(0.0, std::log(0.9 * double(g.E)) - entropy(mean_of(g.p))); }

Routing routing_of(const std::vector<Tensor>& in, const Setting& s) {
  RouterOptions options{.experts = int(s.E), .experts_per_token = int(s.K), .train = Capacity::dropless()};
  bool noise = in.size() > 1;
  return route_with_noise(in[0], noise ? in[1] : Tensor(), noise ? kSigma : 0, groups_of(s.offsets, s.text), options, true, 1);
}

// modality: -1 all tokens
OpCase loss_case(const char* name, const Setting& s, int modality, bool noise, double (*of_group)(const Group&),
                 Tensor (*loss)(const Routing&, LossScope)) {
  const int64_t T = s.offsets.back();
  std::vector<Input> inputs = {{.shape = {T, s.E}, .low = -2, .high = 2}};
  if (noise) { inputs.push_back({.shape = {T, s.E}, .low = -.3, .high = .3, .dtype = DType::f32, .differentiable = false}); }
  auto reference = [=](const std::vector<Tensor>& in) -> std::vector<Doubles> {
    Routing r = routing_of(in, s);
    std::vector<int64_t> offsets = s.scope == LossScope::group ? s.offsets : std::vector<int64_t>{0, T};
    const double *z = in[0].data<double>(), *p = r.clean_probs.data<double>(), *noisy = r.noisy_logits.data<double>();
    Doubles values;
    for (size_t n = 0; n + 1 < offsets.size(); ++n) {
      Group g{.E = s.E, .K = s.K};
      for (int64_t t = offsets[n]; t < offsets[n + 1]; ++t) {
        if (modality >= 0 && r.groups.modality.data<uint8_t>()[t] != modality) { continue; }
        g.p.emplace_back(p + t * s.E, p + t * s.E + s.E);
        g.z.emplace_back(z + t * s.E, z + t * s.E + s.E);
        g.noisy.emplace_back(noisy + t * s.E, noisy + t * s.E + s.E);
      }
      if (!g.p.empty()) { values.push_back(of_group(g)); }
    }
    return {{sum(values) / double(values.size())}};
  };
  double n = double(T * s.E);
  return {.name = concat_text(name, " T=", T, " E=", s.E, " K=", s.K, " groups=", s.offsets.size() - 1,
                              s.scope == LossScope::global ? " global" : ""),
          .inputs = inputs,
          .run = [=](const std::vector<Tensor>& in) { return std::vector{loss(routing_of(in, s), s.scope)}; },
          .reference = reference, .bytes = 12 * n, .flops = 10 * n, .bf16 = false};
}

std::vector<OpCase> cases_of(const Setting& s) {
  return {loss_case("importance_loss", s, -1, false, importance, importance_loss),
          loss_case("load_loss", s, -1, true, load, load_loss),
          loss_case("z_loss", s, -1, false, z_of, z_loss),
          loss_case("balance_loss", s, -1, false, balance, balance_loss),
          loss_case("local_entropy_loss image", s, 0, true, local,
                    [](const Routing& r, LossScope scope) { return local_entropy_loss(r, Modality::image, scope); }),
          loss_case("local_entropy_loss text", s, 1, false, local,
                    [](const Routing& r, LossScope scope) { return local_entropy_loss(r, Modality::text, scope); }),
          loss_case("global_entropy_loss image", s, 0, true, global,
                    [](const Routing& r, LossScope scope) { return global_entropy_loss(r, Modality::image, 0.9 * double(r.experts()), scope); }),
          loss_case("global_entropy_loss text", s, 1, false, global,
                    [](const Routing& r, LossScope scope) { return global_entropy_loss(r, Modality::text, 0.9 * double(r.experts()), scope); })};
}

// one group, odd sizes around the sixteen lanes, a ragged last group, groups of text only, all tokens at once, many tokens; on CUDA
// more tokens than one block adds, more experts than it has threads
AddCases cases([] {
  std::vector<OpCase> all;
  for (const Setting& s : {Setting{3, 1, {0, 5}, 2}, Setting{17, 2, {0, 8, 16, 21}, 3}, Setting{16, 2, {0, 6, 8}, 3},
                           Setting{5, 2, {0, 6, 8}, 3, LossScope::global}, Setting{33, 1, {0, 100, 200}, 16}, Setting{2, 1, {0, 300}, 50},
                           Setting{260, 2, {0, 3}, 1}}) {
    for (OpCase& c : cases_of(s)) { all.push_back(std::move(c)); }
  }
  return all;
}());

}  // namespace
}  // namespace pumice::testing
