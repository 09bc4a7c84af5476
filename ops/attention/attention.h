#pragma once
#include "pumice/tensor/tensor.h"

namespace pumice {

struct AttentionOptions {
  bool causal = false;  // a token attends to itself and to those before it
  double scale = 0;     // of the scores; 0 means 1 / sqrt(D)
  int64_t window = 0;   // with `causal`: a token sees itself and the window - 1 before it (Mistral: Jiang et al. 2023, arXiv:2310.06825); 0: all
  int64_t longest = 0;  // no sequence is longer, now or when a recorded step is replayed; 0: unknown. On CUDA cuDNN, where it is chosen, needs to know
};

// Softmax attention inside each of N sequences that lie one after the other along T (Vaswani et al. 2017, arXiv:1706.03762).
//   q (T, H, D)   k, v (T, Hkv, D)   any strides with dense D   offsets i32 (N + 1), rising from 0 to T   ->   (T, H, D), dtype of q
// H is a multiple of Hkv: queries of heads h Hkv / H share keys and values (grouped-query attention: Ainslie et al. 2023, arXiv:2305.13245).
//   out_i = sum_j p_ij v_j     p_i = softmax_j(scale <q_i, k_j>)     j over the tokens of i's sequence
// Scores are never stored: a block of query rows lives in cache, and the backward pass computes it again from the log-sum-exp of
// each row, (T, H) in f32 (as in FlashAttention: Dao et al. 2022, arXiv:2205.14135). Offsets on the CPU are checked before anything runs; on a
// CUDA device the host does not wait for them, and offsets that do not fit end the kernel with an error. Throws ShapeError, DTypeError, DeviceError.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets, const AttentionOptions& options = {});

// The same between two packings: the queries of sequence n attend to the keys and values of sequence n.
//   q (Tq, H, D)   k, v (Tk, Hkv, D)   q_offsets, k_offsets i32 (N + 1)   ->   (Tq, H, D)
// A sequence with queries needs keys; with `causal` at least as many, and its last query sees the last key. Throws as above.
Tensor cross_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& q_offsets, const Tensor& k_offsets,
                       const AttentionOptions& options = {});

// Self-attention over one tensor of queries, keys and values, whose gradient is one tensor too: qkv (T, 3, H, D) -> (T, H, D).
Tensor attention_qkv(const Tensor& qkv, const Tensor& offsets, const AttentionOptions& options = {});

}  // namespace pumice
