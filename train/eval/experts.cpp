#include "pumice/train/eval/experts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "pumice/data/loader.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr int64_t kMinCount = 5;  // of a token, to be named

// What is summed while the examples pass by.
struct Tally {
  std::vector<double> gate, kept;                      // (E)
  std::vector<std::map<int32_t, int64_t>> tokens;      // (E): id -> first choices
  std::vector<std::vector<PatchPlace>> patches;        // (E): best by gate so far
};

struct Chunk {
  Tensor pixels, tokens, offsets;
  std::vector<std::string> names;
};

Chunk read_chunk(const ImageTextPipeline& pipeline, const PairSource& source, int64_t begin, int64_t end, std::vector<std::string>& problems) {
  Chunk chunk;
  PixelBatch batch(pipeline);
  std::vector<int32_t> tokens, offsets = {0};
  for (int64_t i = begin; i < end; ++i) {
    const auto picture = batch.sample([&] { return source.image(i); });
    if (!picture || !batch.add(*picture, source.name(i))) { continue; }
    chunk.names.push_back(source.name(i));
    std::vector<int32_t> ids = encode_caption(pipeline.tokenizer(), source.caption(i), pipeline.config().text_length);
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    offsets.push_back(int32_t(tokens.size()));
  }
  problems.insert(problems.end(), batch.problems().begin(), batch.problems().end());
  if (!batch.count()) { return chunk; }
  chunk.pixels = batch.pixels();
  if (!pipeline.is_classifier()) {
    chunk.tokens = from_values<int32_t>({int64_t(tokens.size())}, tokens);
    chunk.offsets = from_values<int32_t>({int64_t(offsets.size())}, offsets);
  }
  return chunk;
}

void keep_best(std::vector<PatchPlace>& best, PatchPlace place, int64_t top) {
  auto after = std::upper_bound(best.begin(), best.end(), place.gate, [](double gate, const PatchPlace& p) { return gate > p.gate; });
  if (after - best.begin() >= top) { return; }
  best.insert(after, std::move(place));
  if (int64_t(best.size()) > top) { best.pop_back(); }
}

void take(const LayerRouting& layer, const Chunk& chunk, const ImageTextPipeline& pipeline, const ExpertOptions& options, int64_t grid, Tally& tally,
          LayerProfile& profile) {
  const Routing& r = layer.routing;
  const int64_t K = r.experts_per_token(), extra = pipeline.config().image_pooling == Pooling::token ? 1 : 0;
  const std::vector<int32_t> expert = r.expert.to_vector<int32_t>(), slot = r.slot.to_vector<int32_t>();
  const std::vector<int32_t> sequence = layer.sequences.to_vector<int32_t>();
  const std::vector<uint8_t> modality = r.groups.modality.to_vector<uint8_t>();
  const std::vector<float> gate = r.gate.to_vector<float>();
  int64_t picture = 0, text_token = 0;
  for (int64_t n = 0; n + 1 < layer.sequences.size(); ++n) {
    const bool is_image = modality[sequence[n]] == uint8_t(Modality::image);
    const bool mapped = is_image && int64_t(profile.maps.size()) < options.maps;
    std::vector<int> map;
    for (int64_t t = sequence[n]; t < sequence[n + 1]; ++t) {
      const int32_t e = expert[t * K];
      ExpertProfile& x = profile.experts[size_t(e)];
      tally.gate[size_t(e)] += gate[size_t(t * K)];
      tally.kept[size_t(e)] += slot[t * K] >= 0;
      if (!is_image) {
        ++x.text_tokens;
        ++tally.tokens[size_t(e)][chunk.tokens.data<int32_t>()[text_token++]];
        continue;
      }
      ++x.image_tokens;
      const int64_t patch = t - sequence[n] - extra;
      if (patch < 0) { continue; }  // the class token
      keep_best(tally.patches[size_t(e)], {chunk.names[size_t(picture)], int(patch / grid), int(patch % grid), gate[size_t(t * K)]}, options.top);
      if (mapped) { map.push_back(e); }
    }
    if (mapped) { profile.maps.push_back(std::move(map)); }
    picture += is_image;
  }
  profile.stats.merge(collect_stats(r));
}

double information_of(const LayerProfile& layer) {
  double bits = 0;
  for (const ExpertProfile& x : layer.experts) {
    for (double load : {x.image_load, x.text_load}) {
      if (load > 0) { bits += 0.5 * load * std::log2(load / (0.5 * (x.image_load + x.text_load))); }
    }
  }
  return bits;
}

void finish(const Tally& tally, const Tokenizer& tokenizer, int64_t top, LayerProfile& layer) {
  int64_t images = 0, texts = 0;
  std::map<int32_t, int64_t> all;
  for (size_t e = 0; e < layer.experts.size(); ++e) {
    images += layer.experts[e].image_tokens;
    texts += layer.experts[e].text_tokens;
    for (const auto& [id, count] : tally.tokens[e]) { all[id] += count; }
  }
  for (size_t e = 0; e < layer.experts.size(); ++e) {
    ExpertProfile& x = layer.experts[e];
    const double tokens = double(x.image_tokens + x.text_tokens);
    x.image_load = images ? double(x.image_tokens) / double(images) : 0;
    x.text_load = texts ? double(x.text_tokens) / double(texts) : 0;
    x.kind = "idle";
    if (tokens > 0) {
      x.image_share = x.image_load / (x.image_load + x.text_load);
      x.kept = tally.kept[e] / tokens;
      x.mean_gate = tally.gate[e] / tokens;
      x.kind = x.image_share >= 0.9 ? "image" : x.image_share <= 0.1 ? "text" : "mixed";
    }
    for (const auto& [id, count] : tally.tokens[e]) {
      if (count < kMinCount) { continue; }
      const double lift = double(count) / double(x.text_tokens) / (double(all[id]) / double(texts));
      x.top_tokens.push_back({tokenizer.decode(std::vector<int32_t>{id}), count, lift});
    }
    std::stable_sort(x.top_tokens.begin(), x.top_tokens.end(),
                     [](const TokenCount& a, const TokenCount& b) { return a.lift != b.lift ? a.lift > b.lift : a.count > b.count; });
    if (int64_t(x.top_tokens.size()) > top) { x.top_tokens.resize(size_t(top)); }
    x.top_patches = tally.patches[e];
  }
  layer.mutual_information = images && texts ? information_of(layer) : NAN;
}

Image thumbnail(const Tensor& pixels, int64_t i) {
  const int64_t size = pixels.dim(1);
  const uint8_t* at = pixels.data<uint8_t>() + i * size * size * 3;
  return {int(size), int(size), std::vector<uint8_t>(at, at + size * size * 3)};
}

}  // namespace

ExpertReport profile_experts(const ImageTextPipeline& pipeline, const PairSource& source, const ExpertOptions& options) {
  const ImageTextConfig& config = pipeline.config();
  const bool sparse = !config.dense_twin && (!config.moe_layers.empty() || !config.text_tower().moe_layers.empty());
  REQUIRE(UsageError, sparse, "[experts] ", pipeline.checkpoint(), " has no sparse blocks: there are no experts to look at");
  REQUIRE(UsageError, options.max_examples > 0 && options.maps >= 0 && options.top > 0,
          "[experts] numbers of examples and of what to show must be positive");
  ExpertReport report;
  report.grid = config.image_size / config.patch;
  const int64_t total = std::min(options.max_examples, source.size()), chunk_size = std::min<int64_t>(config.group_examples, 128);
  std::vector<Tally> tallies;
  for (int64_t begin = 0; begin < total; begin += chunk_size) {
    Chunk chunk = read_chunk(pipeline, source, begin, std::min(begin + chunk_size, total), report.problems);
    if (chunk.names.empty()) { continue; }
    report.examples += int64_t(chunk.names.size());
    for (size_t i = 0; i < chunk.names.size() && int64_t(report.pictures.size()) < options.maps; ++i) {
      report.pictures.push_back(chunk.names[i]);
      report.thumbnails.push_back(thumbnail(chunk.pixels, int64_t(i)));
    }
    std::vector<LayerRouting> layers = pipeline.routings(chunk.pixels, chunk.tokens, chunk.offsets);
    for (size_t l = 0; l < layers.size(); ++l) {
      const size_t E = size_t(layers[l].routing.experts());
      if (report.layers.size() == l) {
        LayerProfile layer;
        layer.block = layers[l].block;
        layer.tower = layers[l].tower;
        layer.experts.resize(E);
        report.layers.push_back(std::move(layer));
        tallies.push_back({std::vector<double>(E), std::vector<double>(E), std::vector<std::map<int32_t, int64_t>>(E),
                           std::vector<std::vector<PatchPlace>>(E)});
      }
      take(layers[l], chunk, pipeline, options, report.grid, tallies[l], report.layers[l]);
    }
  }
  REQUIRE(FormatError, report.examples > 0, "[experts] none of the ", total, " pictures could be read; the first problem: ",
          report.problems.empty() ? "none" : report.problems[0]);
  for (size_t l = 0; l < report.layers.size(); ++l) { finish(tallies[l], pipeline.tokenizer(), options.top, report.layers[l]); }
  return report;
}

std::string to_json(const ExpertReport& report) {
  using Json = nlohmann::ordered_json;
  auto number = [](double x) { return std::isnan(x) ? Json("nan") : Json(x); };
  Json j = {{"examples", report.examples}, {"grid", report.grid}, {"pictures", report.pictures}, {"left_out", report.problems},
            {"layers", Json::array()}};
  for (const LayerProfile& layer : report.layers) {
    Json l = {{"block", layer.block}, {"tower", layer.tower}, {"mutual_information_bits", number(layer.mutual_information)}, {"experts",
        Json::array()}, {"maps", layer.maps}};
    for (const auto& [name, value] : layer.stats.values()) { l["stats"][name] = number(value); }
    for (const ExpertProfile& x : layer.experts) {
      Json e = {{"kind", x.kind}, {"image_tokens", x.image_tokens}, {"text_tokens", x.text_tokens}, {"image_load", x.image_load},
                {"text_load", x.text_load}, {"image_share", x.image_share}, {"kept", x.kept}, {"mean_gate", x.mean_gate},
                {"top_tokens", Json::array()}, {"top_patches", Json::array()}};
      for (const TokenCount& t : x.top_tokens) { e["top_tokens"].push_back({{"piece", t.piece}, {"count", t.count}, {"lift", t.lift}}); }
      for (const PatchPlace& p : x.top_patches) { e["top_patches"].push_back({{"picture", p.picture}, {"row", p.row}, {"column", p.column}, {"gate",
          p.gate}}); }
      l["experts"].push_back(std::move(e));
    }
    j["layers"].push_back(std::move(l));
  }
  return j.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Image draw_maps(const ExpertReport& report, int scale) {
  REQUIRE(UsageError, !report.thumbnails.empty() && scale > 0, "[experts] there are no pictures to draw");
  constexpr uint8_t kColours[][3] = {{230, 57, 70}, {29, 53, 200}, {42, 157, 80}, {244, 180, 26}, {131, 56, 200}, {0, 170, 190}, {251, 111, 20}, {120,
      120, 120},
                                     {255, 0, 170}, {110, 70, 30}, {160, 220, 30}, {20, 20, 60}};
  std::vector<const LayerProfile*> shown;
  for (const LayerProfile& layer : report.layers) {
    if (!layer.maps.empty()) { shown.push_back(&layer); }
  }
  const int size = report.thumbnails[0].width * scale, gap = 6, columns = 1 + int(shown.size()), rows = int(report.thumbnails.size()),
      patch = int(size / report.grid);
  Image image{columns * (size + gap) + gap, rows * (size + gap) + gap, {}};
  image.rgb.assign(size_t(image.width) * size_t(image.height) * 3, 255);
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      for (int y = 0; y < size; ++y) {
        for (int x = 0; x < size; ++x) {
          const uint8_t* from = &report.thumbnails[size_t(row)].rgb[size_t((y / scale * report.thumbnails[0].width + x / scale) * 3)];
          uint8_t* to = &image.rgb[size_t(((gap + row * (size + gap) + y) * image.width + gap + column * (size + gap) + x) * 3)];
          const size_t cell = size_t(y / patch * report.grid + x / patch);
          const uint8_t* tint = column ? kColours[size_t(shown[size_t(column - 1)]->maps[size_t(row)][cell]) % std::size(kColours)] : nullptr;
          for (int c = 0; c < 3; ++c) { to[c] = tint ? uint8_t((2 * from[c] + 3 * tint[c]) / 5) : from[c]; }
        }
      }
    }
  }
  return image;
}

}  // namespace pumice
