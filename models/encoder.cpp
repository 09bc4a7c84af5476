#include "pumice/models/encoder.h"

#include <algorithm>
#include <utility>

#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/ops/random/dropout.h"
#include "pumice/tensor/rng.h"

namespace pumice {

Encoder::Encoder(const Scope& scope, const ImageTextConfig& config, const TowerConfig& tower, std::string name)
    : name_(std::move(name)), aux_(config.aux), dropout_(config.dropout) {
  for (int64_t i = 0; i < tower.depth; ++i) {
    Scope block = scope / "blocks" / std::to_string(i);
    Block b;
    b.index = i;
    b.norm1 = LayerNorm(block / "norm1", tower.width);
    b.attention = SelfAttention(block / "attention", tower.width, tower.heads, tower.causal);
    b.norm2 = LayerNorm(block / "norm2", tower.width);
    b.sparse = tower.sparse(i) && !config.dense_twin;
    if (b.sparse) { b.moe = MoeMlp(block / "moe", tower.width, tower.hidden, config.router, config.independent_experts); }
    else { b.mlp = Mlp(block / "mlp", tower.width, tower.sparse(i) ? tower.hidden * config.router.experts_per_token : tower.hidden); }
    b.attention_site = site_of((block / "attention.dropout").path().c_str());
    b.mlp_site = site_of((block / "mlp.dropout").path().c_str());
    blocks_.push_back(b);
  }
  norm_ = LayerNorm(scope / "norm", tower.width);
}

void Encoder::prepare(TokenGroups& groups, bool training) const {
  groups.tensors = std::make_shared<std::map<std::string, Tensor>>();
  if (!training) { return; }
  for (const Block& b : blocks_) {
    if (!b.sparse) { continue; }
    offsets_tensor(groups, Device::cpu());
    capacity_tensor(groups, capacities_of(groups, b.moe.options, true), Device::cpu());
    prepare_segments(groups, aux_);
  }
}

// Returns {x, auxiliary loss}, or {x} alone where there is none.
std::vector<Tensor> Encoder::run_block(const Block& b, const Tensor& input, const TokenStream& stream, const ImageTextRun& run,
                                       LayerReport* report) const {
  double p = run.training ? dropout_ : 0;
  const bool drops = p > 0;  // else the residual goes into the last product
  Tensor x = b.attention(b.norm1(input), stream.sequences, stream.longest, drops ? Tensor() : input);
  if (drops) { x = add(input, dropout(x, p, b.attention_site)); }
  if (!b.sparse) { return {drops ? add(x, dropout(b.mlp(b.norm2(x)), p, b.mlp_site)) : b.mlp(b.norm2(x), x)}; }
  Routing routing;
  Tensor y = b.moe(b.norm2(x), stream.groups, run.training, routing);
  x = add(x, dropout(y, p, b.mlp_site));
  if (report) { report->stats = collect_stats(routing); }
  if (run.routings) { run.routings->push_back({b.index, name_, stream.sequences, routing}); }
  if (!run.training) { return {x}; }
  AuxLosses aux = auxiliary_losses(routing, aux_);
  if (report) {
    for (const auto& [loss, value] : aux.values) { report->losses.emplace_back(loss, value.item()); }
  }
  return {x, aux.total};
}

Tensor Encoder::operator()(TokenStream stream, const ImageTextRun& run, ImageTextOutput& out, std::vector<Tensor>& aux) const {
  return norm_(blocks(std::move(stream), int64_t(blocks_.size()), run, out, aux));
}

Tensor Encoder::blocks(TokenStream stream, int64_t count, const ImageTextRun& run, ImageTextOutput& out, std::vector<Tensor>& aux) const {
  Tensor x = std::exchange(stream.x, Tensor());  // the stream that blocks keep holds no activations
  for (size_t i = 0; i < size_t(count); ++i) {
    const Block& block = blocks_[i];
    LayerReport report;
    report.block = int64_t(i);
    report.tower = name_;
    LayerReport* wanted = block.sparse && run.reports ? &report : nullptr;
    std::vector<Tensor> y;
    if (run.recompute) {
      // The report is filled by the first run only: it lives on this stack, the recomputation does not.
      auto pending = std::make_shared<LayerReport*>(wanted);
      y = checkpoint([this, &block, stream, run, pending](std::span<const Tensor> in) {
        return run_block(block, in[0], stream, run, std::exchange(*pending, nullptr));
      }, {x});
    } else {
      y = run_block(block, x, stream, run, wanted);
    }
    x = y[0];
    if (y.size() > 1) { aux.push_back(y[1]); }
    if (wanted) { out.layers.push_back(std::move(report)); }
  }
  return x;
}

Tensor total_of(const std::vector<Tensor>& aux, const ImageTextConfig& config) {
  Tensor total;
  for (const Tensor& a : aux) { total = total.defined() ? add(total, a) : a; }
  return total.defined() && !config.sum_aux_over_layers ? scale(total, 1.0 / double(aux.size())) : total;
}

}  // namespace pumice
