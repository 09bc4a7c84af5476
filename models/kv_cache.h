#pragma once
#include <vector>

#include "pumice/models/decoder_config.h"
#include "pumice/tensor/tensor.h"

namespace pumice {

// Keys (rotated) and values of the tokens that N sequences have had so far, for each layer.
class KvCache {
 public:
  KvCache(const DecoderConfig& config, int64_t sequences, DType dtype, Device device = Device::cpu());

  bool fits(const DecoderConfig& c) const { return layers_ == c.layers && kv_heads_ == c.kv_heads && head_width_ == c.head_width; }
  int64_t sequences() const { return int64_t(lengths_.size()); }
  int64_t length(int64_t sequence) const { return lengths_[sequence]; }
  void truncate(int64_t sequence, int64_t length);  // forgets later tokens
  int64_t bytes() const;

  // Makes room for `more` tokens of a sequence. Called before a pass; rows are copied when the store grows, by doubling.
  void reserve(int64_t sequence, int64_t more);
  // Stores k, v (n, Hkv, D) behind the sequence's tokens in `layer` and gives the sequence's keys and values, the new ones included. Its length
  // changes with advance(), when all layers have been through.
  struct Seen { Tensor k, v; };
  Seen append(int64_t layer, int64_t sequence, const Tensor& k, const Tensor& v);
  void advance(int64_t sequence, int64_t tokens) { lengths_[sequence] += tokens; }

 private:
  struct Store { Tensor k, v; };  // (capacity, Hkv, D)
  int64_t layers_, kv_heads_, head_width_;
  DType dtype_;
  Device device_;
  std::vector<int64_t> lengths_;
  std::vector<std::vector<Store>> stores_;  // [sequence][layer]
};

}  // namespace pumice
