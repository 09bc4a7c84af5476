// Checkpoints made from checkpoints without training: averages of several, sparse ones from dense ones, smaller ones for one modality.
// Each function writes a checkpoint that evaluation and --init-from read; there is no optimizer state in it, so it cannot be resumed.
#pragma once
#include <string>
#include <vector>

#include "pumice/data/pairs.h"
#include "pumice/train/checkpoint.h"

namespace pumice {

// The arithmetic mean of the weights of checkpoints of one model. Throws UsageError unless their configurations are the same.
void average_checkpoints(const std::vector<std::string>& paths, const std::string& out);

// The same model with `moe_layers` sparse: each expert of a block starts as a copy of its dense MLP (transfer_parameters), routers start
// from `seed`. `router` holds the number of experts and the rest of the routing. Returns what was transferred.
struct Transfer;
Transfer upcycle_checkpoint(const std::string& path, const std::vector<int64_t>& moe_layers, const RouterOptions& router, uint64_t seed,
                            const std::string& out);

// The experts that `modality` uses most, `keep` per sparse block in falling order, counted on the first `examples` pairs of `source`.
struct ExpertUse {
  std::vector<std::vector<int64_t>> experts;  // per sparse block
  std::vector<double> share;                  // of the modality's tokens that these experts got
};
ExpertUse busiest_experts(const LoadedImageText& model, const PairSource& source, Modality modality, int64_t keep, int64_t examples);
// The model with these experts only (with_experts).
void prune_checkpoint(const LoadedImageText& model, const ExpertUse& use, const std::string& out);

}  // namespace pumice
