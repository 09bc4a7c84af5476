#include "pumice/train/surgery.h"

#include <algorithm>
#include <numeric>

#include "pumice/data/loader.h"
#include "pumice/models/transfer.h"
#include "pumice/tensor/error.h"

namespace pumice {

void average_checkpoints(const std::vector<std::string>& paths, const std::string& out) {
  REQUIRE(UsageError, paths.size() >= 2, "[average] at least two checkpoints are required, got ", paths.size());
  LoadedImageText first = load_image_text(paths[0]);
  ParameterStore& parameters = first.model->parameters();
  const int64_t n = parameters.arena_size();
  std::vector<double> sum(n);
  for (const std::string& path : paths) {
    LoadedImageText one = load_image_text(path);
    REQUIRE(UsageError, to_json(one.model->config()) == to_json(first.model->config()), "[average] ", one.checkpoint, " is another model than ",
            first.checkpoint, ": their configurations differ");
    const float* x = one.model->parameters().masters().data<float>();
    for (int64_t i = 0; i < n; ++i) { sum[i] += double(x[i]); }
    first.state.step = std::max(first.state.step, one.state.step);
  }
  float* mean = parameters.masters().data<float>();
  for (int64_t i = 0; i < n; ++i) { mean[i] = float(sum[i] / double(paths.size())); }
  parameters.changed();
  save_model(out, *first.model, first.tokenizer, first.state);
}

Transfer upcycle_checkpoint(const std::string& path, const std::vector<int64_t>& moe_layers, const RouterOptions& router, uint64_t seed,
                            const std::string& out) {
  LoadedImageText dense = load_image_text(path);
  ImageTextConfig config = dense.model->config();
  REQUIRE(UsageError, config.moe_layers.empty() || config.dense_twin, "[upcycle] ", dense.checkpoint,
          " has sparse blocks already; a dense model is required");
  REQUIRE(UsageError, !moe_layers.empty(), "[upcycle] --moe-layers is required: the blocks whose MLPs become experts, for example 1,3");
  config.moe_layers = moe_layers;
  config.router = router;
  config.dense_twin = false;
  auto sparse = make_model(config, seed);
  Transfer done = transfer_parameters(*dense.model, *sparse);
  save_model(out, *sparse, dense.tokenizer, dense.state);
  return done;
}

ExpertUse busiest_experts(const LoadedImageText& loaded, const PairSource& source, Modality modality, int64_t keep, int64_t examples) {
  const ImageTextConfig& config = loaded.model->config();
  const size_t blocks =
      config.dense_twin ? 0 : config.moe_layers.size() + (config.architecture == Architecture::two_tower ? config.text_moe_layers.size() : 0);
  REQUIRE(UsageError, blocks > 0, "[prune] ", loaded.checkpoint, " has no sparse blocks");
  REQUIRE(UsageError, keep >= 1 && keep <= config.router.experts, "[prune] --keep must be in [1, ", config.router.experts, "], got ", keep);
  NoGrad no_grad;
  const int64_t total = std::min(examples, source.size()), chunk = std::min<int64_t>(128, total);
  Loader loader(source, loaded.tokenizer,
                {.batch_size = chunk, .image_size = config.image_size, .text_length = config.text_length, .shuffle = false, .prefetch = 0});
  std::vector<std::vector<double>> counts(blocks, std::vector<double>(size_t(config.router.experts)));
  for (int64_t seen = 0; seen < total; seen += chunk) {
    Batch batch = loader.next();
    ImageTextInput input;
    if (modality == Modality::image) { input.pixels = batch.pixels; }
    else {
      input.tokens = batch.tokens;
      input.text_offsets = batch.text_offsets;
    }
    ImageTextOutput out = loaded.model->forward(input, {});
    REQUIRE(UsageError, out.layers.size() == blocks, "[prune] only ", out.layers.size(), " of the ", blocks,
            " sparse blocks read this modality: the others stand in the other tower");
    for (size_t b = 0; b < blocks; ++b) {
      const ModalityStats& stats = modality == Modality::image ? out.layers[b].stats.image() : out.layers[b].stats.text();
      for (size_t e = 0; e < counts[b].size(); ++e) { counts[b][e] += stats.first_choices[e]; }
    }
  }
  ExpertUse use;
  for (const auto& count : counts) {
    std::vector<int64_t> order(count.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return count[size_t(a)] > count[size_t(b)]; });
    order.resize(size_t(keep));
    double kept = 0;
    for (int64_t e : order) { kept += count[size_t(e)]; }
    use.share.push_back(kept / std::accumulate(count.begin(), count.end(), 0.0));
    use.experts.push_back(order);
  }
  return use;
}

void prune_checkpoint(const LoadedImageText& loaded, const ExpertUse& use, const std::string& out) {
  save_model(out, *with_experts(*loaded.model, use.experts), loaded.tokenizer, loaded.state);
}

}  // namespace pumice
