// A decoder-only language model: Llama, Mistral, Qwen, StableLM and Phi are this class with different descriptions, and any of their layers may be
// a mixture of experts. Tokens of a batch are packed one sequence after the other; there is no padding.
//
//   Decoder model = ...;                                  // hf_model.h reads one, or Decoder(config, seed) makes one
//   DecoderOutput out = model.forward({.ids = ids, .sequences = offsets}, {});
//   Tensor loss = model.loss(out.hidden, labels);         // the logits never exist as a whole
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "pumice/models/decoder_config.h"
#include "pumice/models/kv_cache.h"
#include "pumice/moe/losses.h"
#include "pumice/moe/moe_mlp.h"
#include "pumice/nn/layers.h"

namespace pumice {

struct DecoderInput {
  Tensor ids;        // i32 (T); or instead of them
  Tensor embeddings; // (T, C): ids and pictures already embedded
  Tensor sequences;  // i32 (N + 1): where each sequence begins; on the CPU
  Tensor modality;   // u8 (T): 0 image, 1 text; undefined: all text. For statistics of routing
};

struct DecoderRun {
  DType dtype = DType::f32;  // of activations and weights
  bool training = false;     // training capacity, noise, auxiliary losses
  bool recompute = false;    // activation checkpointing per layer
  // Tokens continue the sequences in it, and are added to it; without a graph. Sequences then do not know of each other: the tokens of each are a group
  // of their own in sparse layers, and their angles follow their own length. Without a cache a pass is one group, and angles follow the longest.
  KvCache* cache = nullptr;
  std::vector<Routing>* routings = nullptr;  // receives one per sparse layer
};

struct DecoderOutput {
  Tensor hidden;  // (T, C), normed: what the head reads
  Tensor aux;     // () f32, weighted: undefined in a dense model or outside training
};

// Throws ShapeError beginning with `place` unless the sequences that begin there cover T tokens, one after the other.
void require_sequences(const char* place, const std::vector<int32_t>& begin, int64_t T);

class Decoder {
 public:
  // Weights drawn from `seed`: normal with deviation 0.02, as these families start.
  explicit Decoder(const DecoderConfig& config, uint64_t seed = 0, DType master = DType::f32, Device device = Device::cpu());
  // In a store that others share; names have no prefix. The caller packs it, or binds what is unfilled.
  Decoder(const DecoderConfig& config, std::shared_ptr<ParameterStore> store);
  // Without values: each parameter is to be bound (ParameterStore::make_unfilled).
  static Decoder unfilled(const DecoderConfig& config);

  Tensor embed(const Tensor& ids, DType dtype) const { return embedding_(ids, dtype); }  // i32 (T) -> (T, C)
  // Throws ShapeError when the input does not fit, UsageError for ids outside the vocabulary.
  DecoderOutput forward(const DecoderInput& input, const DecoderRun& run) const;
  Tensor logits(const Tensor& hidden) const;  // (R, C) -> (R, V), dtype of hidden
  // Cross-entropy of the next token: labels i32 (T), -100 where ignored, as long as the ids: labels[t] is asked of the token before it in its
  // sequence. Mean over the labels that count.
  Tensor loss(const Tensor& hidden, const Tensor& labels, const Tensor& sequences) const;

  const DecoderConfig& config() const { return config_; }
  ParameterStore& parameters() { return *store_; }
  const ParameterStore& parameters() const { return *store_; }

 private:
  struct Norm {
    std::optional<LayerNorm> layer;
    std::optional<RmsNorm> rms;
    Norm() = default;
    Norm(const Scope& scope, const DecoderConfig& config);
    Tensor operator()(const Tensor& x) const { return layer ? (*layer)(x) : (*rms)(x); }
  };
  struct FeedForward {
    std::optional<SwigluMlp> swiglu;
    std::optional<Mlp> gelu;
    FeedForward() = default;
    FeedForward(const Scope& scope, const DecoderConfig& config);
    Tensor operator()(const Tensor& x, const Tensor& residual = {}) const { return swiglu ? (*swiglu)(x, residual) : (*gelu)(x, residual); }
  };
  struct Layer {
    int64_t index = 0, window = 0;
    Norm norm1, norm2;
    Linear q, k, v, out;
    bool sparse = false;
    FeedForward mlp;  // dense layers, and residual mixtures
    MoeMlp moe;       // sparse layers
    Linear coefficient;  // of residual mixtures: (2, C)
  };
  // Of one pass: what every layer needs beside x.
  struct Pass {
    Tensor sequences;    // i32 (N + 1)
    Tensor positions;    // i32 (T): of each token in its sequence
    std::vector<Tensor> frequencies;  // f32 (rotary / 2): one for all sequences, or one for each
    TokenGroups groups;
    DecoderRun run;
  };
  Pass pass_of(const DecoderInput& input, const DecoderRun& run) const;
  Tensor rotate(const Tensor& x, const Pass& pass) const;
  // Both add `residual` to what they make of x.
  Tensor attend(const Layer& layer, const Tensor& x, const Tensor& residual, const Pass& pass) const;
  Tensor feed_forward(const Layer& layer, const Tensor& x, const Tensor& residual, const Pass& pass, Tensor& aux) const;
  std::vector<Tensor> run_layer(const Layer& layer, const Tensor& x, const Pass& pass) const;

  DecoderConfig config_;
  std::shared_ptr<ParameterStore> store_;
  Embedding embedding_;
  std::vector<Layer> layers_;
  Norm norm_;
  Linear head_;  // its weight is null when the embedding is the head
};

}  // namespace pumice
