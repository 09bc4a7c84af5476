#include "pumice/moe/losses.h"

#include <algorithm>
#include <cmath>

#include "pumice/autograd/autograd.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/parallel.h"

namespace pumice {
namespace {

constexpr AuxLoss kAll[] = {AuxLoss::importance, AuxLoss::load, AuxLoss::z, AuxLoss::balance, AuxLoss::local_image, AuxLoss::local_text,
                            AuxLoss::global_image, AuxLoss::global_text};

// The router's numbers in f64, and where gradients of the total go.
struct Numbers {
  int64_t E, K;
  std::vector<double> z, noisy, p, used;  // clean and noisy logits, their softmaxes
  double sigma;
  std::vector<double> dz;
};

// The tokens that one loss looks at within one group.
using Tokens = std::vector<int64_t>;

double variance_over_squared_mean(const std::vector<double>& x, double& mean, double& variance) {
  mean = variance = 0;
  for (double v : x) { mean += v / double(x.size()); }
  for (double v : x) { variance += (v - mean) * (v - mean) / double(x.size()); }
  return variance / (mean * mean);
}

double importance(Numbers& r, const Tokens& tokens, double w) {
  const int64_t E = r.E;
  const double n = double(tokens.size());
  std::vector<double> I(E);
  for (int64_t t : tokens) {
    for (int64_t e = 0; e < E; ++e) { I[e] += r.p[t * E + e]; }
  }
  double mean, variance, loss = variance_over_squared_mean(I, mean, variance);
  // (2 E / n^2) p_j (I_j - sum_k p_k I_k): the mean of I is n / E whatever the router does
  for (int64_t t : tokens) {
    const double* p = &r.p[t * E];
    double inner = 0;
    for (int64_t e = 0; e < E; ++e) { inner += p[e] * I[e]; }
    for (int64_t e = 0; e < E; ++e) { r.dz[t * E + e] += w * 2 * double(E) / (n * n) * p[e] * (I[e] - inner); }
  }
  return loss;
}

double load(Numbers& r, const Tokens& tokens, double w) {
  const int64_t E = r.E;
  const double n = double(tokens.size()), s = r.sigma;
  std::vector<double> L(E), threshold;
  std::vector<int64_t> kth;
  for (int64_t t : tokens) {
    const double* noisy = &r.noisy[t * E];
    std::vector<int64_t> order(E);
    for (int64_t e = 0; e < E; ++e) { order[e] = e; }
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return noisy[a] > noisy[b]; });
    kth.push_back(order[r.K - 1]);
    threshold.push_back(noisy[kth.back()]);
    for (int64_t e = 0; e < E; ++e) { L[e] += 0.5 * std::erfc((threshold.back() - r.z[t * E + e]) / s / std::sqrt(2.0)) / n; }
  }
  double m, v, loss = variance_over_squared_mean(L, m, v);
  // g_e = 2 (L_e - m) / (E m^2) - 2 v / (E m^3)     dz_j = (phi(a_j) g_j - [j = k*] sum_e phi(a_e) g_e) / (n sigma), a_e = (t - z_e) / sigma
  std::vector<double> g(E);
  for (int64_t e = 0; e < E; ++e) { g[e] = 2 * (L[e] - m) / (double(E) * m * m) - 2 * v / (double(E) * m * m * m); }
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t t = tokens[i];
    double through_threshold = 0;
    for (int64_t e = 0; e < E; ++e) {
      double a = (threshold[i] - r.z[t * E + e]) / s, slope = std::exp(-0.5 * a * a) / std::sqrt(2 * M_PI) * g[e];
      r.dz[t * E + e] += w * slope / (n * s);
      through_threshold += slope;
    }
    r.dz[t * E + kth[i]] -= w * through_threshold / (n * s);
  }
  return loss;
}

double z_loss(Numbers& r, const Tokens& tokens, double w) {
  const double n = double(tokens.size());
  double loss = 0;
  for (int64_t t : tokens) {
    const double* z = &r.z[t * r.E];
    double top = *std::max_element(z, z + r.E), sum = 0;
    for (int64_t e = 0; e < r.E; ++e) { sum += std::exp(z[e] - top); }
    const double lse = top + std::log(sum);
    loss += lse * lse / n;
    for (int64_t e = 0; e < r.E; ++e) { r.dz[t * r.E + e] += w * 2 / n * lse * r.p[t * r.E + e]; }
  }
  return loss;
}

double balance(Numbers& r, const Tokens& tokens, double w) {
  const int64_t E = r.E;
  const double n = double(tokens.size());
  std::vector<double> f(E), P(E);
  for (int64_t t : tokens) {
    const double* p = &r.used[t * E];
    f[std::max_element(p, p + E) - p] += 1 / n;
    for (int64_t e = 0; e < E; ++e) { P[e] += p[e] / n; }
  }
  double loss = 0;
  for (int64_t e = 0; e < E; ++e) { loss += double(E) * f[e] * P[e]; }
  for (int64_t t : tokens) {
    const double* p = &r.used[t * E];
    double inner = 0;
    for (int64_t e = 0; e < E; ++e) { inner += p[e] * f[e]; }
    for (int64_t e = 0; e < E; ++e) { r.dz[t * E + e] += w * double(E) / n * p[e] * (f[e] - inner); }
  }
  return loss;
}

double p_log_p(double p) { return p > 0 ? p * std::log(p) : 0; }

double local_entropy(Numbers& r, const Tokens& tokens, double w) {
  const double n = double(tokens.size());
  double loss = 0;
  for (int64_t t : tokens) {
    const double* p = &r.p[t * r.E];
    double H = 0;
    for (int64_t e = 0; e < r.E; ++e) { H -= p_log_p(p[e]); }
    loss += H / n;
    for (int64_t e = 0; e < r.E; ++e) { r.dz[t * r.E + e] -= w / n * (p_log_p(p[e]) + p[e] * H); }
  }
  return loss;
}

double global_entropy(Numbers& r, const Tokens& tokens, double w, double tau) {
  const int64_t E = r.E;
  const double n = double(tokens.size());
  std::vector<double> mean(E), logs(E);
  for (int64_t t : tokens) {
    for (int64_t e = 0; e < E; ++e) { mean[e] += r.p[t * E + e] / n; }
  }
  double H = 0;
  for (int64_t e = 0; e < E; ++e) {
    H -= p_log_p(mean[e]);
    logs[e] = std::log(std::max(mean[e], 1e-300));
  }
  if (H >= tau) { return 0; }
  for (int64_t t : tokens) {
    const double* p = &r.p[t * E];
    double inner = 0;
    for (int64_t e = 0; e < E; ++e) { inner += p[e] * logs[e]; }
    for (int64_t e = 0; e < E; ++e) { r.dz[t * E + e] += w / n * p[e] * (logs[e] - inner); }
  }
  return tau - H;
}

bool wants(AuxLoss loss, uint8_t modality) {
  const bool image = loss == AuxLoss::local_image || loss == AuxLoss::global_image, text = loss == AuxLoss::local_text || loss == AuxLoss::global_text;
  return image ? modality == uint8_t(Modality::image) : text ? modality == uint8_t(Modality::text) : true;
}

double evaluate(AuxLoss loss, Numbers& r, const Tokens& tokens, double w, const AuxOptions& o) {
  const double E = double(r.E);
  auto tau = [&](double soft_min, double most, double share) { return std::log(soft_min > 0 ? soft_min : std::max(1.0, std::min(most, share * E))); };
  switch (loss) {
    case AuxLoss::importance: return importance(r, tokens, w);
    case AuxLoss::load: return load(r, tokens, w);
    case AuxLoss::z: return z_loss(r, tokens, w);
    case AuxLoss::balance: return balance(r, tokens, w);
    case AuxLoss::local_image: case AuxLoss::local_text: return local_entropy(r, tokens, w);
    case AuxLoss::global_image: return global_entropy(r, tokens, w, tau(o.soft_min_image, 20, 0.62));
    case AuxLoss::global_text: return global_entropy(r, tokens, w, tau(o.soft_min_text, 9, 0.28));
  }
  return 0;
}

}  // namespace

const char* name(AuxLoss loss) {
  switch (loss) {
    case AuxLoss::importance: return "importance";
    case AuxLoss::load: return "load";
    case AuxLoss::z: return "z";
    case AuxLoss::balance: return "balance";
    case AuxLoss::local_image: return "local_image";
    case AuxLoss::local_text: return "local_text";
    case AuxLoss::global_image: return "global_image";
    case AuxLoss::global_text: return "global_text";
  }
  return "?";
}

std::vector<std::string> AuxOptions::names() const {
  std::vector<std::string> all;
  for (AuxLoss loss : losses) { all.push_back(name(loss)); }
  return all;
}

bool AuxOptions::set_names(const std::string& text) {
  std::vector<AuxLoss> chosen;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find(',', begin), text.size());
    auto found = std::find_if(std::begin(kAll), std::end(kAll), [&](AuxLoss l) { return text.compare(begin, end - begin, name(l)) == 0; });
    if (found == std::end(kAll)) { return false; }
    chosen.push_back(*found);
    begin = end + 1;
  }
  losses = chosen;
  return true;
}

AuxLosses auxiliary_losses(const Routing& routing, const AuxOptions& options) {
  const TokenGroups& groups = routing.groups;
  Numbers r{routing.experts(), routing.experts_per_token(), routing.logits.to_vector<double>(), routing.noisy_logits.to_vector<double>(),
            routing.clean_probs.to_vector<double>(), routing.probs.to_vector<double>(), routing.noise_std, {}};
  r.dz.resize(r.z.size());
  std::vector<AuxLoss> active;
  for (AuxLoss loss : options.losses) {
    if (loss != AuxLoss::load || r.sigma > 0) { active.push_back(loss); }
  }
  const uint8_t* modality = groups.modality.data<uint8_t>();
  AuxLosses result;
  double total = 0;
  for (AuxLoss loss : active) {
    std::vector<Tokens> members;
    for (int64_t g = 0; g < groups.count(); ++g) {
      Tokens tokens;
      for (int64_t t = groups.offsets[g]; t < groups.offsets[g + 1]; ++t) {
        if (wants(loss, modality[t])) { tokens.push_back(t); }
      }
      if (!tokens.empty()) { members.push_back(std::move(tokens)); }
    }
    const double w = members.empty() ? 0 : options.weight / double(active.size()) / double(members.size());
    std::vector<double> values(members.size());
    parallel_for(int64_t(members.size()), 1, [&](int64_t begin, int64_t end) {  // groups share no token
      for (int64_t g = begin; g < end; ++g) { values[g] = evaluate(loss, r, members[g], w, options); }
    });
    double mean = 0;
    for (double v : values) { mean += v / double(values.size()); }
    result.values.emplace_back(name(loss), mean);
    total += options.weight / double(active.size()) * mean;
  }
  const DType dtype = routing.logits.dtype();
  Tensor slope = to_dtype(from_values<double>(routing.logits.shape(), r.dz), dtype);

  // dlogits = dtotal times the closed forms above, which were summed with their weights
  result.total = record("auxiliary_losses", full({}, total, dtype), {routing.logits}, [slope](const Tensor& dy, std::span<GradSink> dx) {
    Tensor d = empty_like(slope);
    const std::vector<double> s = slope.to_vector<double>();
    std::vector<double> scaled(s.size());
    const double g = dy.item();
    for (size_t i = 0; i < s.size(); ++i) { scaled[i] = g * s[i]; }
    copy_into(d, from_values<double>(slope.shape(), scaled));
    dx[0].put(d);
  });
  return result;
}

}  // namespace pumice
