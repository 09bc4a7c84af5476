#include "pumice/moe/stats.h"

#include <algorithm>
#include <cmath>

namespace pumice {
namespace {

void add(std::vector<double>& into, const std::vector<double>& x) {
  into.resize(std::max(into.size(), x.size()));
  for (size_t i = 0; i < x.size(); ++i) { into[i] += x[i]; }
}

void add(ModalityStats& into, const ModalityStats& x) {
  into.tokens += x.tokens;
  into.choices += x.choices;
  into.kept += x.kept;
  add(into.first_choices, x.first_choices);
  add(into.probability, x.probability);
  into.entropy += x.entropy;
  into.gate += x.gate;
  into.max_gate = std::max(into.max_gate, x.max_gate);
}

double cv2(const std::vector<double>& x) {
  double mean = 0, variance = 0;
  for (double v : x) { mean += v / double(x.size()); }
  for (double v : x) { variance += (v - mean) * (v - mean) / double(x.size()); }
  return variance / (mean * mean);
}

double ratio(double a, double b) { return b > 0 ? a / b : NAN; }

}  // namespace

double ModalityStats::success_rate() const { return ratio(double(kept), double(choices)); }
double ModalityStats::local_entropy() const { return ratio(entropy, double(tokens)); }
double ModalityStats::mean_gate() const { return ratio(gate, double(tokens)); }
double ModalityStats::share(int64_t expert) const { return ratio(first_choices[size_t(expert)], double(tokens)); }
double ModalityStats::effective_experts() const { return std::exp(global_entropy()); }
double ModalityStats::global_entropy() const {
  if (tokens == 0) { return NAN; }
  double H = 0;
  for (double p : probability) {
    double q = p / double(tokens);
    H -= q > 0 ? q * std::log(q) : 0;
  }
  return H;
}

ModalityStats RoutingStats::all() const {
  ModalityStats sum = parts_[0];
  add(sum, parts_[1]);
  return sum;
}
double RoutingStats::importance_cv2() const { return cv2(all().probability); }
double RoutingStats::load_cv2() const { return cv2(all().first_choices); }
double RoutingStats::mean_lse() const { return ratio(lse_, double(parts_[0].tokens + parts_[1].tokens)); }

void RoutingStats::merge(const RoutingStats& other) {
  for (int m : {0, 1}) { add(parts_[m], other.parts_[m]); }
  max_logit_ = std::max(max_logit_, other.max_logit_);
  lse_ += other.lse_;
}

std::vector<std::pair<std::string, double>> RoutingStats::values() const {
  std::vector<std::pair<std::string, double>> all_values = {
      {"success_rate", all().success_rate()}, {"importance_cv2", importance_cv2()}, {"load_cv2", load_cv2()}, {"max_logit", max_logit_},
      {"mean_lse", mean_lse()}};
  for (int m : {0, 1}) {
    const ModalityStats& s = parts_[m];
    if (s.tokens == 0) { continue; }
    const std::string prefix = m == 0 ? "image/" : "text/";
    all_values.emplace_back(prefix + "success_rate", s.success_rate());
    all_values.emplace_back(prefix + "local_entropy", s.local_entropy());
    all_values.emplace_back(prefix + "global_entropy", s.global_entropy());
    all_values.emplace_back(prefix + "effective_experts", s.effective_experts());
    all_values.emplace_back(prefix + "mean_gate", s.mean_gate());
    all_values.emplace_back(prefix + "max_gate", s.max_gate);
    for (size_t e = 0; e < s.first_choices.size(); ++e) { all_values.emplace_back(prefix + "expert" + std::to_string(e), s.share(int64_t(e))); }
  }
  return all_values;
}

RoutingStats collect_stats(const Routing& routing) {
  const int64_t E = routing.experts(), K = routing.experts_per_token();
  const std::vector<double> p = routing.clean_probs.to_vector<double>(), gate = routing.gate.to_vector<double>(),
                            z = routing.logits.to_vector<double>();
  const std::vector<int32_t> expert = routing.expert.to_vector<int32_t>(), slot = routing.slot.to_vector<int32_t>();
  const std::vector<uint8_t> modality = routing.groups.modality.to_vector<uint8_t>();
  RoutingStats stats;
  for (ModalityStats& s : stats.parts_) {
    s.first_choices.assign(size_t(E), 0);
    s.probability.assign(size_t(E), 0);
  }
  const int64_t T = routing.groups.tokens() - routing.groups.padding;
  for (int64_t t = 0; t < T; ++t) {
    ModalityStats& s = stats.parts_[modality[size_t(t)] == uint8_t(Modality::text)];
    s.tokens += 1;
    s.choices += K;
    for (int64_t k = 0; k < K; ++k) { s.kept += slot[size_t(t * K + k)] >= 0; }
    s.first_choices[size_t(expert[size_t(t * K)])] += 1;
    s.gate += gate[t * K];
    s.max_gate = std::max(s.max_gate, gate[t * K]);
    for (int64_t e = 0; e < E; ++e) {
      const double q = p[t * E + e];
      s.probability[size_t(e)] += q;
      s.entropy -= q > 0 ? q * std::log(q) : 0;
    }
  }
  for (int64_t i = 0; i < T * E; ++i) { stats.max_logit_ = std::max(stats.max_logit_, std::abs(z[size_t(i)])); }
  const std::vector<double> lse = routing.lse.to_vector<double>();
  for (int64_t t = 0; t < T; ++t) { stats.lse_ += lse[size_t(t)]; }
  return stats;
}

}  // namespace pumice
