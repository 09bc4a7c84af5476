#include "pumice/ops/loss/contrastive.h"

#include <unordered_map>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/loss/contrastive_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(contrastive_fwd, ContrastiveFwd);
PUMICE_DEFINE_KERNEL(contrastive_bwd, ContrastiveBwd);
PUMICE_DEFINE_KERNEL(sigmoid_contrastive_fwd, SigmoidContrastiveFwd);
PUMICE_DEFINE_KERNEL(sigmoid_contrastive_bwd, SigmoidContrastiveBwd);

namespace {

void require_operands(const Tensor& image, const Tensor& text, const Tensor& log_temperature, const Tensor& caption_ids) {
  require_float("contrastive_loss", "image", image);
  require_dtype("contrastive_loss", "text", text, image.dtype());
  REQUIRE(ShapeError, image.rank() == 2 && text.shape() == image.shape() && image.dim(0) > 0,
          "[contrastive_loss] image and text must be (B, C) with at least one pair, got ", image.shape(), " and ", text.shape());
  REQUIRE(ShapeError, log_temperature.rank() == 0, "[contrastive_loss] log_temperature must be a scalar (), got ",
          log_temperature.shape());
  require_parameter_dtype("contrastive_loss", "log_temperature", log_temperature, image.dtype());
  require_same_device("contrastive_loss", image, text);
  require_same_device("contrastive_loss", image, log_temperature);
  if (!caption_ids.defined() || (caption_ids.dtype() == DType::i32 && caption_ids.shape() == Shape{2, image.dim(0)})) { return; }
  require_dtype("contrastive_loss", "caption_ids", caption_ids, DType::i64);
  REQUIRE(ShapeError, caption_ids.shape() == Shape{image.dim(0)}, "[contrastive_loss] caption_ids must be (B) = (", image.dim(0),
          ") for image ", image.shape(), ", got ", caption_ids.shape());
}

// caption_groups() on `device`.
Tensor group_captions(const Tensor& caption_ids, int64_t B, Device device) {
  if (caption_ids.defined()) { return to_device(caption_ids.dtype() == DType::i32 ? caption_ids : caption_groups(caption_ids), device); }
  Tensor t = empty({2, B}, DType::i32);
  for (int64_t i = 0; i < B; ++i) { t.data<int32_t>()[i] = int32_t(i); }
  fill(t.slice(0, 1, 2), 1);
  return to_device(t, device);
}

// The CPU's kernels read columns from panels, those of CUDA from tiles in shared memory.
Tensor panel_scratch(const Tensor& features) {
  if (features.device() != Device::cpu()) { return Tensor(); }
  const int64_t panels = (features.dim(0) + kContrastivePanel - 1) / kContrastivePanel;
  return empty({panels * kContrastivePanel, features.dim(1)}, features.dtype(), features.device());
}

}  // namespace

Tensor caption_groups(const Tensor& caption_ids) {
  const std::vector<int64_t> ids = caption_ids.to_vector<int64_t>();
  const int64_t B = int64_t(ids.size());
  Tensor t = empty({2, B}, DType::i32);
  int32_t *group = t.data<int32_t>(), *members = group + B;
  std::unordered_map<int64_t, int32_t> numbers;
  std::vector<int32_t> sizes;
  for (int64_t i = 0; i < B; ++i) {
    group[i] = numbers.try_emplace(ids[i], int32_t(numbers.size())).first->second;
    sizes.resize(numbers.size());
    sizes[group[i]] += 1;
  }
  for (int64_t i = 0; i < B; ++i) { members[i] = sizes[group[i]]; }
  return t;
}

ContrastiveResult contrastive_loss(const Tensor& image, const Tensor& text, const Tensor& log_temperature,
                                   const Tensor& caption_ids) {
  require_operands(image, text, log_temperature, caption_ids);
  const int64_t B = image.dim(0), C = image.dim(1);
  const DType wide = image.dtype() == DType::f64 ? DType::f64 : DType::f32;
  Tensor x = packed(image), z = packed(text), t = log_temperature.detach(), targets = group_captions(caption_ids, B, image.device());
  Tensor group = targets.slice(0, 0, 1), members = targets.slice(0, 1, 2);

  Tensor loss = empty({}, wide, x.device()), hits = empty({2}, DType::i64, x.device()), lse = empty({2, B}, wide, x.device());
  {
    Tensor wide_x = to_dtype(x, wide), wide_z = to_dtype(z, wide);
    Tensor row_loss = empty({B}, wide, x.device()), hit = empty({B}, DType::u8, x.device()), panels = panel_scratch(wide_x);
    contrastive_fwd(x.device(), {loss, hits, lse, row_loss, hit, panels, wide_x, wide_z, t, {group, members}, B, C});
  }
  // g_ij = dy / 2B * (exp(logits_ij - lse_i) + exp(logits_ij - lse_j) - 2 [j in P(i)] / |P(i)|)          = dloss / dlogits_ij
  // dimage_i = exp(t) * sum_j(g_ij * text_j)    dtext_j = exp(t) * sum_i(g_ij * image_i)    dt = sum_ij(g_ij * logits_ij)
  loss = record("contrastive_loss", loss, {image, text, log_temperature},
                [x, z, t, lse, group, members, wide, B, C](const Tensor& dy, std::span<GradSink> dx) {
    Tensor wide_x = to_dtype(x, wide), wide_z = to_dtype(z, wide);
    Tensor dimage = dx[0].needed() || dx[2].needed() ? empty_like(wide_x) : Tensor();
    Tensor dtext = dx[1].needed() ? empty_like(wide_z) : Tensor(), dt = dx[2].needed() ? empty({}, wide, x.device()) : Tensor();
    Tensor panels = panel_scratch(wide_x);
    contrastive_bwd(x.device(), {dimage, dtext, dt, dy, wide_x, wide_z, t, lse, panels, {group, members}, B, C});
    if (dx[0].needed()) { dx[0].put(to_dtype(dimage, x.dtype())); }
    if (dx[1].needed()) { dx[1].put(to_dtype(dtext, z.dtype())); }
    if (dx[2].needed()) { dx[2].put(dt); }
  });
  return {loss, hits, B};
}

ContrastiveResult sigmoid_contrastive_loss(const Tensor& image, const Tensor& text, const Tensor& log_temperature, const Tensor& bias,
                                           const Tensor& caption_ids) {
  require_operands(image, text, log_temperature, caption_ids);
  REQUIRE(ShapeError, bias.rank() == 0, "[sigmoid_contrastive_loss] bias must be a scalar (), got ", bias.shape());
  require_parameter_dtype("sigmoid_contrastive_loss", "bias", bias, image.dtype());
  const int64_t B = image.dim(0), C = image.dim(1);
  const DType wide = image.dtype() == DType::f64 ? DType::f64 : DType::f32;
  Tensor x = packed(image), z = packed(text), t = log_temperature.detach(), b = bias.detach();
  Tensor targets = group_captions(caption_ids, B, image.device());
  Tensor group = targets.slice(0, 0, 1), members = targets.slice(0, 1, 2);

  Tensor loss = empty({}, wide, x.device()), hits = empty({2}, DType::i64, x.device());
  {
    Tensor wide_x = to_dtype(x, wide), wide_z = to_dtype(z, wide);
    Tensor row_loss = empty({B}, wide, x.device()), hit = empty({B}, DType::u8, x.device()), panels = panel_scratch(wide_x);
    sigmoid_contrastive_fwd(x.device(), {loss, hits, row_loss, hit, panels, wide_x, wide_z, t, b, {group, members}, B, C});
  }
  // g_ij = dy / B * (sigmoid(l_ij) - y_ij)          = dloss / dl_ij
  // dimage_i = exp(t) * sum_j(g_ij * text_j)    dtext_j = exp(t) * sum_i(g_ij * image_i)    dbias = sum_ij(g_ij)
  // dt = sum_ij(g_ij * (l_ij - bias)) = sum_i <image_i, dimage_i>
  loss = record("sigmoid_contrastive_loss", loss, {image, text, log_temperature, bias},
                [x, z, t, b, group, members, wide, B, C](const Tensor& dy, std::span<GradSink> dx) {
    Tensor wide_x = to_dtype(x, wide), wide_z = to_dtype(z, wide);
    Tensor dimage = dx[0].needed() || dx[2].needed() || dx[3].needed() ? empty_like(wide_x) : Tensor();
    Tensor dtext = dx[1].needed() ? empty_like(wide_z) : Tensor(), dt = dx[2].needed() ? empty({}, wide, x.device()) : Tensor();
    Tensor db = dx[3].needed() ? empty({}, wide, x.device()) : Tensor(), row_sum = empty({B}, wide, x.device()), panels = panel_scratch(wide_x);
    sigmoid_contrastive_bwd(x.device(), {dimage, dtext, dt, db, row_sum, dy, wide_x, wide_z, t, b, panels, {group, members}, B, C});
    if (dx[0].needed()) { dx[0].put(to_dtype(dimage, x.dtype())); }
    if (dx[1].needed()) { dx[1].put(to_dtype(dtext, z.dtype())); }
    if (dx[2].needed()) { dx[2].put(dt); }
    if (dx[3].needed()) { dx[3].put(db); }
  });
  return {loss, hits, B};
}

}  // namespace pumice
