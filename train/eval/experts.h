// What the experts of a trained model do: which modality, which words and which patches go where.
#pragma once
#include <string>
#include <vector>

#include "pumice/data/image.h"
#include "pumice/data/pairs.h"
#include "pumice/train/pipeline.h"

namespace pumice {

struct TokenCount {
  std::string piece;   // as the tokenizer decodes it
  int64_t count = 0;   // first choices of this expert
  double lift = 0;     // its share of the expert's text tokens over its share of all text tokens
};
struct PatchPlace {
  std::string picture;
  int row = 0, column = 0;
  double gate = 0;
};
struct ExpertProfile {
  int64_t image_tokens = 0, text_tokens = 0;  // whose first choice it is
  double image_load = 0, text_load = 0;       // as shares of each modality's tokens
  double image_share = 0;  // image_load / (image_load + text_load): modalities weigh the same however many tokens they have
  double kept = 0, mean_gate = 0;             // of its first choices
  std::string kind;        // "image" or "text" from an image_share of 0.9 up or 0.1 down, "mixed" between, "idle" without tokens
  std::vector<TokenCount> top_tokens;         // by lift, of those that it got at least five times
  std::vector<PatchPlace> top_patches;        // by gate
};
struct LayerProfile {
  int64_t block = 0;
  std::string tower;
  std::vector<ExpertProfile> experts;
  RoutingStats stats;
  double mutual_information = 0;  // of expert and modality in bits, modalities weighing the same:
                                  // sum_me p(m, e) log2(p(m, e) / (p(m) p(e))), p(m) = 1/2.
                                  // 0: an expert says nothing about the modality; 1: each expert reads one. NaN with one modality
  std::vector<std::vector<int>> maps;  // of the first pictures: the expert of every patch, row by row
};
struct ExpertReport {
  int64_t examples = 0, grid = 0;        // pictures with captions; patches per side
  std::vector<std::string> pictures;     // names of those that have maps
  std::vector<Image> thumbnails;         // and they, as the model sees them
  std::vector<LayerProfile> layers;
  std::vector<std::string> problems;     // pictures left out
};

struct ExpertOptions {
  int64_t max_examples = 1000, maps = 8, top = 8;
};
// Throws UsageError for a model without sparse blocks.
ExpertReport profile_experts(const ImageTextPipeline& pipeline, const PairSource& source, const ExpertOptions& options);

std::string to_json(const ExpertReport& report);
// The pictures that have maps, a row each: the picture, then for each layer the same tinted by expert.
Image draw_maps(const ExpertReport& report, int scale = 2);

}  // namespace pumice
