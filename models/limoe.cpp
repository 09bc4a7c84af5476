#include "pumice/models/limoe.h"

#include <cmath>
#include <utility>

#include "pumice/ops/elementwise/arithmetic.h"
#include "pumice/ops/elementwise/cast.h"
#include "pumice/ops/elementwise/scalar.h"
#include "pumice/ops/index/concat.h"
#include "pumice/ops/index/gather_rows.h"
#include "pumice/ops/index/view.h"
#include "pumice/ops/norm/l2_normalize.h"
#include "pumice/ops/random/dropout.h"
#include "pumice/ops/reduce/segment_mean.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/rng.h"

namespace pumice {

// The packed tokens of a batch and where everything in them lies.
struct Limoe::Stream {
  Tensor x;                 // (T, C)
  Tensor sequences;         // i32 (N + 1): offsets of the sequences, in stream order
  TokenGroups groups;
  Tensor image_rows, text_rows;  // i32 (B): which sequence each example's image and caption is
};

Limoe::Limoe(const LimoeConfig& config, uint64_t seed, DType master)
    : config_(config), store_(std::make_unique<ParameterStore>(seed, master)) {
  config.validate();
  Scope root(*store_);
  const int64_t C = config.width;
  const Init position = Init::normal(1 / std::sqrt(double(C)));
  patches_ = Linear(root / "image.patches", config.patch * config.patch * 3, C);
  image_positions_ = (root / "image").parameter("positions", {config.image_tokens(), C}, position, false);
  words_ = Embedding(root / "text.words", config.vocabulary, C, Init::normal(1 / std::sqrt(double(C))));
  text_positions_ = (root / "text").parameter("positions", {config.text_length, C}, position, false);
  for (int64_t i = 0; i < config.depth; ++i) {
    Scope scope = root / "blocks" / std::to_string(i);
    Block b;
    b.norm1 = LayerNorm(scope / "norm1", C);
    b.attention = SelfAttention(scope / "attention", C, config.heads);
    b.norm2 = LayerNorm(scope / "norm2", C);
    b.sparse = config.sparse(i) && !config.dense_twin;
    if (b.sparse) { b.moe = MoeMlp(scope / "moe", C, config.hidden, config.router, config.independent_experts); }
    else { b.mlp = Mlp(scope / "mlp", C, config.sparse(i) ? config.hidden * config.router.experts_per_token : config.hidden); }
    b.attention_site = site_of((scope / "attention.dropout").path().c_str());
    b.mlp_site = site_of((scope / "mlp.dropout").path().c_str());
    blocks_.push_back(b);
  }
  norm_ = LayerNorm(root / "norm", C);
  image_head_ = Linear(root / "image.head", C, config.embedding, Init::lecun_normal(), false);
  text_head_ = Linear(root / "text.head", C, config.embedding, Init::lecun_normal(), false);
  log_temperature_ = root.parameter("log_temperature", {}, Init::constant(std::log(config.initial_temperature)), false);
  store_->pack();
}

Tensor Limoe::embed_images(const Tensor& pixels, DType dtype) const {
  Tensor patches = patchify(pixels, int(config_.patch), config_.pixels, dtype);  // (B, n, 3 p^2)
  Tensor x = add(patches_(patches), image_positions_->value(dtype));
  return reshape(x, {-1, config_.width});
}

Tensor Limoe::embed_text(const Tensor& tokens, const Tensor& offsets, DType dtype) const {
  std::vector<int32_t> place(tokens.size());
  const int32_t* o = offsets.data<int32_t>();
  for (int64_t i = 0; i + 1 < offsets.size(); ++i) {
    REQUIRE(ShapeError, o[i + 1] - o[i] <= config_.text_length, "[limoe] caption ", i, " has ", o[i + 1] - o[i],
            " tokens; this model takes at most ", config_.text_length);
    for (int32_t t = o[i]; t < o[i + 1]; ++t) { place[t] = t - o[i]; }
  }
  Tensor positions = gather_rows(text_positions_->value(dtype), from_values<int32_t>({int64_t(place.size())}, place));
  return add(words_(tokens, dtype), positions);
}

Limoe::Stream Limoe::assemble(const LimoeInput& input, DType dtype) const {
  const bool images = input.pixels.defined(), text = input.tokens.defined();
  REQUIRE(ShapeError, images || text, "[limoe] images or captions are required");
  const int64_t B = images ? input.pixels.dim(0) : input.text_offsets.size() - 1, n = config_.image_tokens();
  REQUIRE(ShapeError, !images || (input.pixels.dim(1) == config_.image_size && input.pixels.dim(2) == config_.image_size),
          "[limoe] pixels must be (B, ", config_.image_size, ", ", config_.image_size, ", 3), got ", input.pixels.shape());
  REQUIRE(ShapeError, !images || !text || input.text_offsets.size() == B + 1, "[limoe] one caption per image is required, got ",
          B, " images and ", input.text_offsets.size() - 1, " captions");
  REQUIRE(ShapeError, input.first_example % config_.group_examples == 0, "[limoe] a microbatch must start at a multiple of the ",
          config_.group_examples, " examples of a routing group, got ", input.first_example);

  const int32_t* o = text ? input.text_offsets.data<int32_t>() : nullptr;
  const int64_t text_start = images ? B * n : 0;  // where captions begin in concat(images, captions)
  std::vector<int32_t> order, sequences = {0}, image_rows, text_rows;
  std::vector<uint8_t> modality;
  Stream s;
  s.groups.offsets = {0};
  auto append = [&](int64_t begin, int64_t count, uint8_t kind, std::vector<int32_t>& rows) {
    rows.push_back(int32_t(sequences.size()) - 1);
    for (int64_t t = 0; t < count; ++t) { order.push_back(int32_t(begin + t)); }
    modality.insert(modality.end(), count, kind);
    sequences.push_back(int32_t(order.size()));
  };
  for (int64_t begin = 0; begin < B; begin += config_.group_examples) {
    int64_t end = std::min(B, begin + config_.group_examples);
    for (int64_t i = begin; images && i < end; ++i) { append(i * n, n, 0, image_rows); }
    for (int64_t i = begin; text && i < end; ++i) { append(text_start + o[i], o[i + 1] - o[i], 1, text_rows); }
    s.groups.offsets.push_back(int64_t(order.size()));
  }
  s.groups.first_group = input.first_example / config_.group_examples;
  s.groups.modality = from_values<uint8_t>({int64_t(modality.size())}, modality);
  s.sequences = from_values<int32_t>({int64_t(sequences.size())}, sequences);
  if (images) { s.image_rows = from_values<int32_t>({B}, image_rows); }
  if (text) { s.text_rows = from_values<int32_t>({B}, text_rows); }

  if (images && text) {
    Tensor all = concat({embed_images(input.pixels, dtype), embed_text(input.tokens, input.text_offsets, dtype)}, 0);
    s.x = gather_rows(all, from_values<int32_t>({int64_t(order.size())}, order));
  } else {
    s.x = images ? embed_images(input.pixels, dtype) : embed_text(input.tokens, input.text_offsets, dtype);
  }
  return s;
}

// Returns {x, auxiliary loss}, or {x} alone where there is none.
std::vector<Tensor> Limoe::run_block(const Block& b, const Tensor& input, const Stream& stream, const LimoeRun& run, LayerReport* report) const {
  double p = run.training ? config_.dropout : 0;
  Tensor x = add(input, dropout(b.attention(b.norm1(input), stream.sequences), p, b.attention_site));
  if (!b.sparse) { return {add(x, dropout(b.mlp(b.norm2(x)), p, b.mlp_site))}; }
  Routing routing;
  Tensor y = b.moe(b.norm2(x), stream.groups, run.training, routing);
  x = add(x, dropout(y, p, b.mlp_site));
  if (report) { report->stats = collect_stats(routing); }
  if (!run.training) { return {x}; }
  AuxLosses aux = auxiliary_losses(routing, config_.aux);
  if (report) { report->losses = aux.values; }
  return {x, aux.total};
}

LimoeOutput Limoe::forward(const LimoeInput& input, const LimoeRun& run) const {
  Stream stream = assemble(input, run.dtype);
  LimoeOutput out;
  std::vector<Tensor> aux;
  Tensor x = std::move(stream.x);
  for (int64_t i = 0; i < config_.depth; ++i) {
    const Block& block = blocks_[i];
    LayerReport report;
    report.block = i;
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
  Tensor pooled = segment_mean(norm_(x), stream.sequences);  // (sequences, C)
  auto project = [&](const Linear& head, const Tensor& rows) {
    DType wide = run.dtype == DType::f64 ? DType::f64 : DType::f32;
    return l2_normalize(cast(head(gather_rows(pooled, rows)), wide));
  };
  if (stream.image_rows.defined()) { out.image = project(image_head_, stream.image_rows); }
  if (stream.text_rows.defined()) { out.text = project(text_head_, stream.text_rows); }
  for (const Tensor& a : aux) { out.aux = out.aux.defined() ? add(out.aux, a) : a; }
  if (out.aux.defined() && !config_.sum_aux_over_layers) { out.aux = scale(out.aux, 1.0 / double(aux.size())); }
  return out;
}

}  // namespace pumice
