#include "pumice/moe/router_losses.h"

#include <cmath>

#include "pumice/autograd/autograd.h"
#include "pumice/moe/router_losses_kernels.h"
#include "pumice/tensor/error.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(importance_loss_fwd, MeanProbsLoss);
PUMICE_DEFINE_KERNEL(balance_loss_fwd, MeanProbsLoss);
PUMICE_DEFINE_KERNEL(global_entropy_loss_fwd, MeanProbsLoss);
PUMICE_DEFINE_KERNEL(mean_probs_loss_bwd, MeanProbsLossBwd);
PUMICE_DEFINE_KERNEL(load_loss_fwd, LoadLoss);
PUMICE_DEFINE_KERNEL(load_loss_bwd, LoadLossBwd);
PUMICE_DEFINE_KERNEL(z_loss_fwd, ZLoss);
PUMICE_DEFINE_KERNEL(z_loss_bwd, ZLossBwd);
PUMICE_DEFINE_KERNEL(local_entropy_loss_fwd, LocalEntropyLoss);
PUMICE_DEFINE_KERNEL(local_entropy_loss_bwd, LocalEntropyLossBwd);

namespace {

// Which tokens a loss is computed over, as tensors that a backward lambda can keep.
struct TokenSegments {
  Tensor offsets, tokens, share, modality;
  int64_t count = 0, experts = 0, wanted = 0;
  Segments view() const { return {offsets, tokens, share, modality, count, experts, wanted}; }
};

// Offsets i64 (N + 1), tokens that count and shares f64 (2, N), on the CPU. Padding is a segment of share 0.
struct SegmentTensors { Tensor offsets, counts; };
SegmentTensors segment_tensors(const TokenGroups& groups, LossScope scope, const Modality* modality) {
  std::vector<int64_t> all = {0, groups.tokens() - groups.padding};
  if (groups.padding) { all.push_back(groups.tokens()); }
  const std::vector<int64_t>& offsets = scope == LossScope::group ? groups.offsets : all;
  const int64_t N = int64_t(offsets.size()) - 1;
  const std::string name = scope == LossScope::group ? "groups" : "all";
  const auto count = [&] {
    Tensor counts = zeros({2, N}, DType::f64);
    double *tokens = counts.data<double>(), *share = tokens + N;
    const std::vector<uint8_t> kind = groups.modality.to_vector<uint8_t>();
    int64_t active = 0;
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t t = offsets[size_t(n)]; t < offsets[size_t(n) + 1]; ++t) { tokens[n] += !modality || kind[size_t(t)] == uint8_t(*modality); }
      share[n] = tokens[n] > 0 && !(groups.padding && n + 1 == N);
      active += share[n] > 0;
    }
    for (int64_t n = 0; n < N; ++n) { share[n] = share[n] > 0 ? 1.0 / double(active) : 0; }
    return counts;
  };
  return {tensor_of(groups, "segments/" + name, [&] { return from_values<int64_t>({N + 1}, offsets); }),
          tensor_of(groups, concat_text("tokens/", name, "/", modality ? int(*modality) : -1), count)};
}

TokenSegments segments_of(const Routing& r, LossScope scope, const Modality* modality) {
  const SegmentTensors s = segment_tensors(r.groups, scope, modality);
  const Device device = r.logits.device();
  const Tensor counts = to_device(s.counts, device);
  return {.offsets = to_device(s.offsets, device), .tokens = counts.slice(0, 0, 1), .share = counts.slice(0, 1, 2),
          .modality = modality ? to_device(r.groups.modality, device) : Tensor(), .count = s.offsets.size() - 1, .experts = r.experts(),
          .wanted = modality ? int64_t(*modality) : 0};
}

Tensor scalar_like(const Tensor& logits) { return empty({}, logits.dtype(), logits.device()); }

// The losses that are functions of a segment's mean probabilities; formulas in losses.h.
Tensor mean_probs_loss(const char* op, const Kernel<MeanProbsLoss>& forward, const Routing& r, const TokenSegments& s, const Tensor& probs,
                       double threshold) {
  Tensor p = probs.detach(), loss = scalar_like(p), c = zeros({s.count}, DType::f64, p.device());
  Tensor v = zeros({s.count, s.experts}, DType::f64, p.device()), value = empty_like(c);
  forward(p.device(), {loss, c, v, value, p, r.expert, s.view(), r.experts_per_token(), threshold});

  // dlogits_ij = c_n * p_ij * (v_nj - sum_k(p_ik v_nk))
  return record(op, loss, {r.logits}, [s, p, c, v](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dlogits = empty_like(p);
    mean_probs_loss_bwd(p.device(), {dlogits, dy, c, v, p, s.view()});
    dx[0].put(dlogits);
  });
}

}  // namespace

void prepare_segments(const TokenGroups& groups, LossScope scope, const Modality* modality) { segment_tensors(groups, scope, modality); }

Tensor importance_loss(const Routing& r, LossScope scope) {
  return mean_probs_loss("importance_loss", importance_loss_fwd, r, segments_of(r, scope, nullptr), r.clean_probs, 0);
}

Tensor balance_loss(const Routing& r, LossScope scope) {
  return mean_probs_loss("balance_loss", balance_loss_fwd, r, segments_of(r, scope, nullptr), r.probs, 0);
}

Tensor global_entropy_loss(const Routing& r, Modality modality, double soft_min, LossScope scope) {
  REQUIRE(UsageError, soft_min >= 1 && soft_min <= r.experts(), "[global_entropy_loss] soft_min must be in [1, ", r.experts(),
          "], the number of experts, got ", soft_min, ": more experts than there are cannot be used");
  return mean_probs_loss("global_entropy_loss", global_entropy_loss_fwd, r, segments_of(r, scope, &modality), r.clean_probs, std::log(soft_min));
}

Tensor load_loss(const Routing& r, LossScope scope) {
  REQUIRE(UsageError, r.noise_std > 0, "[load_loss] the routing had no noise, so no expert's load depends on chance: train with noise_std > 0, ",
          "or leave this loss out");
  TokenSegments s = segments_of(r, scope, nullptr);
  Tensor logits = packed(r.logits.detach()), loss = scalar_like(logits), c = zeros({s.count}, DType::f64, logits.device());
  Tensor g = zeros({s.count, s.experts}, DType::f64, logits.device()), value = empty_like(c);
  const int64_t K = r.experts_per_token();
  load_loss_fwd(logits.device(), {loss, c, g, value, logits, r.noisy_logits, r.expert, s.view(), K, r.noise_std});

  // dlogits_ij = c_n * (phi(a_ij) g_j - [j = k*_i] sum_e(phi(a_ie) g_e)): the threshold moves with the K-th choice's logit
  return record("load_loss", loss, {r.logits},
                [s, logits, noisy = r.noisy_logits, expert = r.expert, c, g, K, sigma = r.noise_std](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dlogits = empty_like(logits);
    load_loss_bwd(logits.device(), {dlogits, dy, c, g, logits, noisy, expert, s.view(), K, sigma});
    dx[0].put(dlogits);
  });
}

Tensor z_loss(const Routing& r, LossScope scope) {
  TokenSegments s = segments_of(r, scope, nullptr);
  Tensor loss = scalar_like(r.lse), value = empty({s.count}, DType::f64, r.lse.device());
  z_loss_fwd(r.lse.device(), {loss, value, r.lse, s.view()});

  // dlogits_ij = 2/n * lse_i * p_ij
  return record("z_loss", loss, {r.logits}, [s, lse = r.lse, p = r.clean_probs](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dlogits = empty_like(p);
    z_loss_bwd(p.device(), {dlogits, dy, lse, p, s.view()});
    dx[0].put(dlogits);
  });
}

Tensor local_entropy_loss(const Routing& r, Modality modality, LossScope scope) {
  TokenSegments s = segments_of(r, scope, &modality);
  Tensor logits = packed(r.logits.detach()), loss = scalar_like(logits), entropy = empty_like(r.lse);
  Tensor value = empty({s.count}, DType::f64, logits.device());
  local_entropy_loss_fwd(logits.device(), {loss, entropy, value, logits, r.lse, r.clean_probs, s.view()});

  // dlogits_ij = -1/n * p_ij * (ln p_ij + H_i)
  auto gradient = [s, logits, entropy, lse = r.lse, p = r.clean_probs](const Tensor& dy, std::span<GradSink> dx) {
    Tensor dlogits = empty_like(p);
    local_entropy_loss_bwd(p.device(), {dlogits, dy, entropy, logits, lse, p, s.view()});
    dx[0].put(dlogits);
  };
  return record("local_entropy_loss", loss, {r.logits}, gradient);
}

}  // namespace pumice
