// The layers of a transformer encoder. A layer is a small value that names its parameters; calling it records ops.
// Axis letters: docs/layout.md. T counts the tokens of all sequences of a batch, packed one after the other.
#pragma once
#include "pumice/nn/parameter.h"
#include "pumice/ops/elementwise/gelu.h"

namespace pumice {

struct Linear {
  Parameter* weight = nullptr;  // (out, in)
  Parameter* bias = nullptr;    // (out); null without
  Linear() = default;
  Linear(const Scope& scope, int64_t in, int64_t out, const Init& init = Init::xavier_uniform(), bool with_bias = true,
         const Init& bias_init = Init::zeros());
  Tensor operator()(const Tensor& x, const Tensor& residual = {}) const;  // (..., in) -> (..., out), dtype of x; residual (..., out) is added
};

struct LayerNorm {
  Parameter *weight = nullptr, *bias = nullptr;  // (C)
  double eps = 1e-6;
  LayerNorm() = default;
  LayerNorm(const Scope& scope, int64_t width, double eps = 1e-6);
  Tensor operator()(const Tensor& x) const;  // (..., C) -> (..., C)
};

struct RmsNorm {
  Parameter* weight = nullptr;  // (C)
  double eps = 1e-6;
  RmsNorm() = default;
  RmsNorm(const Scope& scope, int64_t width, double eps = 1e-6);
  Tensor operator()(const Tensor& x) const;  // (..., C) -> (..., C)
};

struct Embedding {
  Parameter* table = nullptr;  // (V, C)
  Embedding() = default;
  Embedding(const Scope& scope, int64_t vocabulary, int64_t width, const Init& init);
  Tensor operator()(const Tensor& ids, DType dtype) const;  // i32 (...) -> (..., C)
};

// Multi-head self-attention within each packed sequence, no padding anywhere. Causal: a token sees itself and those before it.
struct SelfAttention {
  Linear qkv, out;  // (3C, C), (C, C)
  int64_t heads = 1;
  bool causal = false;
  SelfAttention() = default;
  SelfAttention(const Scope& scope, int64_t width, int64_t heads, bool causal = false);
  // x (T, C), sequences i32 (N+1) offsets -> (T, C); longest: AttentionOptions::longest; residual (T, C) is added
  Tensor operator()(const Tensor& x, const Tensor& sequences, int64_t longest = 0, const Tensor& residual = {}) const;
};

struct Mlp {
  Linear up, down;  // (F, C), (C, F)
  Gelu activation = Gelu::tanh;
  Mlp() = default;
  Mlp(const Scope& scope, int64_t width, int64_t hidden, Gelu activation = Gelu::tanh, const Init& init = Init::xavier_uniform());
  Tensor operator()(const Tensor& x, const Tensor& residual = {}) const;  // (T, C) -> (T, C); residual (T, C) is added
};

// down(silu(gate(x)) up(x)), no biases: the MLP of most language models.
struct SwigluMlp {
  Linear gate, up, down;  // (F, C), (F, C), (C, F)
  SwigluMlp() = default;
  SwigluMlp(const Scope& scope, int64_t width, int64_t hidden, const Init& init = Init::xavier_uniform());
  Tensor operator()(const Tensor& x, const Tensor& residual = {}) const;  // (T, C) -> (T, C); residual (T, C) is added
};

// One vector per sequence by attention from a learned probe, then an MLP around it: "MAP" of big_vision (Lee et al. 2019, arXiv:1810.00825).
//   a = attention(probe, tokens)     y = a + mlp(norm(a))
struct AttentionPool {
  Parameter* probe = nullptr;  // (1, C)
  Linear query, kv, out;       // (C, C), (2C, C), (C, C)
  LayerNorm norm;
  Mlp mlp;
  int64_t heads = 1;
  AttentionPool() = default;
  AttentionPool(const Scope& scope, int64_t width, int64_t heads, int64_t hidden);
  // x (T, C), sequences i32 (N+1) -> (N, C). queries: 0, 1, ..., N as i32, from callers that have it
  Tensor operator()(const Tensor& x, const Tensor& sequences, const Tensor& queries = {}) const;
};
Tensor even_offsets(int64_t n, int64_t step);  // 0, step, ..., n step as i32 (n + 1)

}  // namespace pumice
