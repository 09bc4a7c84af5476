#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

// Which pairs of a batch have the same caption, as i32 (2, B) on the CPU: numbers 0, 1, ... in order of appearance, and how many share each. From ids
// i64 (B); the losses take it in their place, for callers that send it to the device ahead.
Tensor caption_groups(const Tensor& caption_ids);

struct ContrastiveResult {
  Tensor loss;                     // () f32 (f64 for f64 features), with its graph
  Tensor hits;                     // i64 (2): images, and texts, whose best match in the batch is a right one
  int64_t pairs = 0;
  // The same as shares. On CUDA they wait for the device.
  double accuracy_i2t() const { return double(hits.to_vector<int64_t>()[0]) / double(pairs); }
  double accuracy_t2i() const { return double(hits.to_vector<int64_t>()[1]) / double(pairs); }
};

// Softmax contrastive loss (InfoNCE, van den Oord et al. 2018, arXiv:1807.03748; both directions as in CLIP, Radford et al. 2021,
// arXiv:2103.00020) over a whole batch, with a learned temperature and several right answers per row.
//   image (B, C)   text (B, C)   log_temperature () f32   caption_ids i64 (B), caption_groups() of them, or undefined   ->   loss ()
//   logits_ij = exp(log_temperature) * <image_i, text_j>          P(i) = the j with caption_ids_j = caption_ids_i
//   loss = 1/2 mean_i( lse_j(logits_ij) - mean_{j in P(i)}(logits_ij) ) + 1/2 the same over the columns
// Equal ids mean equal captions: pairs that cannot be told apart must not be pushed apart, and count as hits. Undefined ids are
// all different: the plain loss. Features come normalised (l2_normalize); they may be f32, bf16 or f64, everything is computed in
// f32 (f64 for f64). Logits exist as tiles only, in the forward pass and again in the backward pass: memory is O(B * C), not
// O(B * B).
// Throws ShapeError, DTypeError, DeviceError.
ContrastiveResult contrastive_loss(const Tensor& image, const Tensor& text, const Tensor& log_temperature,
                                   const Tensor& caption_ids = {});

// Sigmoid contrastive loss (SigLIP: Zhai et al. 2023, arXiv:2303.15343): every pair is a yes-or-no question of its own.
//   as above, and bias () f32   ->   loss ()
//   l_ij = exp(log_temperature) * <image_i, text_j> + bias     y_ij = [caption_ids_i = caption_ids_j]
//   loss = 1/B sum_ij( softplus(l_ij) - y_ij l_ij )
// Memory is O(B * C). Throws as above.
ContrastiveResult sigmoid_contrastive_loss(const Tensor& image, const Tensor& text, const Tensor& log_temperature, const Tensor& bias,
                                           const Tensor& caption_ids = {});

}  // namespace pumice
